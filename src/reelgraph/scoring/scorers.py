"""The scorer of an artifact: its arrays checked, whatever model made them. Numpy, no torch."""

import re
from collections.abc import Mapping

from reelgraph.arrays import Float32s
from reelgraph.errors import ArtifactError
from reelgraph.scoring.base import Scorer
from reelgraph.scoring.gcn import GCNScorer
from reelgraph.scoring.ranking_head import SHAPES as RANK_SHAPES
from reelgraph.scoring.residual import ResidualScorer


def needed_for_lists(name: str) -> bool:
    """Whether lists of users need an array; explanations, visitors and updates need them all."""
    return re.fullmatch(r"mean|(rank\.)?(user|item)\.(state|bias|offset)|head\..+", name) is not None


def scorer_for(
    model: str, weights: Mapping[str, Float32s], unit: tuple[float, float], *, lists_only: bool = False
) -> Scorer:
    """The scorer of an artifact; with `lists_only` only of the arrays that lists need.

    Raises:
        ArtifactError: if the model is not known, or one of its arrays is missing or of another shape.
    """
    if model not in _SHAPES:
        raise ArtifactError(f"manifest.json: expected model residual or gcn, found {model!r}", "train again")
    ranks = any(name.startswith("rank.") for name in weights)
    shapes = _SHAPES[model] | (RANK_SHAPES if ranks else {})
    if lists_only:
        shapes = {name: letters for name, letters in shapes.items() if needed_for_lists(name)}
    _check_arrays(shapes, weights)
    return ResidualScorer(weights) if model == "residual" else GCNScorer(weights, unit)


# What the scorers read. A letter is a length that is the same wherever it stands: users, items, the states' dim, the
# ranking head's dim (r), the head's hidden layer; "b" is both states side by side.
_SHAPES = {
    "residual": {"mean": "", "gain": ""}
    | {f"{side}.{name}": side[0] for side in ("user", "item") for name in ("bias", "offset")}
    | {
        f"{side}.{name}": f"{side[0]}d"
        for side in ("user", "item")
        for name in ("state", "free", "side", "implicit", "residual")
    },
    "gcn": {"user.state": "ud", "item.state": "id", "item.degree": "i", "visitor.feature": "d"}
    | {f"item.layer{number}": "id" for number in range(3)}
    | {f"layer{number}.weight": "dd" for number in range(3)}
    | {f"layer{number}.bias": "d" for number in range(3)}
    | {"head.hidden.weight": "bh", "head.hidden.bias": "h", "head.out.weight": "h1", "head.out.bias": "1"},
}


def _check_arrays(shapes: Mapping[str, str], weights: Mapping[str, Float32s]) -> None:
    lengths = {"1": 1}
    for name, letters in shapes.items():
        if name not in weights:
            raise ArtifactError(f"weights.safetensors: expected an array {name!r}, found none", "train again")
        found = weights[name].shape
        if len(found) == len(letters):
            lengths = dict(zip(letters, found, strict=True)) | lengths
        if "d" in lengths:
            lengths["b"] = 2 * lengths["d"]
        expected = tuple(lengths.get(letter) for letter in letters)
        if found != expected:
            wanted = " x ".join(str(length or "any") for length in expected) or "one number"
            raise ArtifactError(
                f"weights.safetensors: expected {name} of shape {wanted}, found {' x '.join(map(str, found))}",
                "train again",
            )
