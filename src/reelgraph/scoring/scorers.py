"""Scorers of a trained model from its arrays, whose names and shapes are checked here."""

import re
from collections.abc import Mapping

from reelgraph.arrays import Float32s
from reelgraph.errors import ArtifactError
from reelgraph.scoring.base import Scorer
from reelgraph.scoring.gcn import GCNScorer
from reelgraph.scoring.ranking_head import NoRatingModel, Ranker
from reelgraph.scoring.residual import ResidualScorer

# A letter is a length that must be the same everywhere: users, items, dim of the states, r: dim of the ranking head,
# h: hidden layer of the head, b: two states side by side.
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
    "ranking": {"rank.mean": "", "rank.item.bias": "i", "rank.user.baseline": "u", "rank.item.baseline": "i"}
    | {f"rank.user.{name}": "ur" for name in ("state", "implicit", "residual", "own", "channel")}
    | {f"rank.item.{name}": "ir" for name in ("state", "implicit", "residual", "own", "channel", "free", "side")},
}


def needed_for_lists(name: str) -> bool:
    """Whether lists of training users need this array; explanations, visitors and updates need them all."""
    return re.fullmatch(r"mean|(rank\.)?(user|item)\.(state|bias|offset)|head\..+", name) is not None


def scorer_for(
    model: str, weights: Mapping[str, Float32s], unit: tuple[float, float], *, lists_only: bool = False
) -> Scorer:
    """The scorer of a rating model, after a check of all arrays; see `GCNScorer` for `unit`."""
    if model not in _SHAPES:
        raise ArtifactError(f"manifest.json: expected a model of {', '.join(_SHAPES)}, found {model!r}", "train again")
    ranks = any(name.startswith("rank.") for name in weights)
    shapes = _SHAPES[model] | (_SHAPES["ranking"] if ranks else {})
    _check_arrays({name: shape for name, shape in shapes.items() if not lists_only or needed_for_lists(name)}, weights)
    if model == "ranking":
        return NoRatingModel(len(weights["rank.item.bias"]))
    return ResidualScorer(weights) if model == "residual" else GCNScorer(weights, unit)


def ranker_for(weights: Mapping[str, Float32s]) -> Ranker | None:
    """The ranking head of a model whose arrays `scorer_for` has checked; None if it has none."""
    return Ranker(weights) if "rank.item.state" in weights else None


def _check_arrays(shapes: Mapping[str, str], weights: Mapping[str, Float32s]) -> None:
    lengths = {"1": 1}
    for name, letters in shapes.items():
        if name not in weights:
            raise ArtifactError(f"weights.safetensors: expected an array {name!r}, found none", "train again")
        shape = weights[name].shape
        if len(shape) == len(letters):
            lengths = dict(zip(letters, shape, strict=True)) | lengths
        if "d" in lengths:
            lengths["b"] = 2 * lengths["d"]
        expected = tuple(lengths.get(letter) for letter in letters)
        if shape != expected:
            wanted = " x ".join(str(length or "any") for length in expected) or "one number"
            problem = f"expected {name} of shape {wanted}, found {' x '.join(map(str, shape))}"
            raise ArtifactError(f"weights.safetensors: {problem}", "train again")
