"""Scorers of a trained model from its arrays, and the check of these."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

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


def scorer_for(model: str, weights: Mapping[str, Float32s], unit: tuple[float, float]) -> Scorer:
    """The scorer of a rating model; see `GCNScorer` for `unit`."""
    if model == "ranking":
        return NoRatingModel(len(weights["rank.item.bias"]))
    return ResidualScorer(weights) if model == "residual" else GCNScorer(weights, unit)


def ranker_for(weights: Mapping[str, Float32s]) -> Ranker | None:
    """The ranking head of a model; None if it has none."""
    return Ranker(weights) if "rank.item.state" in weights else None


def check_arrays(
    model: str,
    arrays: Iterable[tuple[str, Float32s]],
    rows: Mapping[str, int],
    *,
    ranks: bool,
    lists_only: bool = False,
) -> dict[str, Float32s]:
    """Check names, types, shapes and values of a model's arrays, and return them.

    Args:
        model: the rating model.
        arrays: names and arrays, used one at a time; those that only newer versions know are left out.
        rows: numbers of users, "u", and of movies, "i".
        ranks: whether there is a ranking head.
        lists_only: return only those of `needed_for_lists`.

    Raises:
        ArtifactError: without the name of the file.
    """
    shapes = _SHAPES[model] | (_SHAPES["ranking"] if ranks else {})
    found, kept = {}, {}
    for name, array in arrays:
        if name in shapes:
            low, high = _bounds(model, name)
            if array.dtype != np.float32 or (array.size and not low <= array.min() <= array.max() <= high):
                raise ArtifactError(f"expected float32 from {low:g} to {high:g} in {name}, found others")
            found[name] = array.shape
            if not lists_only or needed_for_lists(name):
                kept[name] = array
        elif name.startswith("rank."):
            raise ArtifactError(f"expected a ranking head in manifest.json for {name}, found none")
    _check_shapes(shapes, found, {"1": 1, **rows})
    return kept


def _bounds(model: str, name: str) -> tuple[float, float]:
    """Limits of an array: products of larger numbers may overflow."""
    if name == "item.degree":  # with the movie's edge to itself
        return 1.0, 1e12
    # Weights of standardised ratings are small; gcn multiplies those of its layers.
    limit = 1e3 if model == "gcn" and not name.startswith("rank.") else 1e6
    return -limit, limit


def _check_shapes(shapes: Mapping[str, str], found: Mapping[str, tuple[int, ...]], lengths: dict[str, int]) -> None:
    for name, letters in shapes.items():
        if name not in found:
            raise ArtifactError(f"expected an array {name!r}, found none")
        if len(found[name]) == len(letters):
            lengths = dict(zip(letters, found[name], strict=True)) | lengths
        if "d" in lengths:
            lengths = {"b": 2 * lengths["d"]} | lengths
        expected = tuple(lengths.get(letter) for letter in letters)
        if found[name] != expected or 0 in expected:
            wanted = " x ".join(str(length or "any") for length in expected) or "one number"
            problem = f"expected {name} of shape {wanted}, found {' x '.join(map(str, found[name])) or 'one number'}"
            raise ArtifactError(problem)
