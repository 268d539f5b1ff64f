"""Training with default settings on other rating scales and with few ratings."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reelgraph.data.dataset import Dataset
from reelgraph.training.fit import fit
from tests.support.worlds import settings
from tests.training.test_tuning import tastes

SCALES = [(0.5, 5.0), (1.0, 10.0), (1.0, 100.0), (0.0, 1.0)]


def on_scale(data: Dataset, low: float, high: float) -> Dataset:
    """The ratings of 1 to 5 mapped to another scale."""
    parts = {
        name: replace(part, rating=((part.rating - 1) / 4 * (high - low) + low).astype(np.float32))
        for name, part in ((name, getattr(data, name)) for name in ("train", "valid", "test"))
    }
    scale = data.manifest["scale"] | {"low": low, "high": high}
    return replace(data, train=parts["train"], valid=parts["valid"], test=parts["test"], scale=(low, high),
                   manifest=data.manifest | {"scale": scale})  # fmt: skip


SHORT = settings(dim=8, max_steps=60)


@pytest.fixture(scope="module")
def first() -> dict[str, Any]:
    """The manifest of a model on the scale 1 to 5."""
    return fit(tastes(), SHORT).artifact.manifest


@pytest.mark.parametrize(("low", "high"), SCALES)
def test_a_linear_map_of_the_ratings_gives_the_same_model(first: dict[str, Any], low: float, high: float) -> None:
    """Ratings are standardised, so a linear map of the ratings maps the errors alike."""
    second = fit(on_scale(tastes(), low, high), SHORT).artifact.manifest
    span = (high - low) / 4
    ours, theirs = (manifest["metrics"]["test"]["model"]["rmse"] for manifest in (first, second))
    assert theirs == pytest.approx(ours * span, rel=0.01)
    assert [trial["outcome"] for trial in first["tuning"]] == [trial["outcome"] for trial in second["tuning"]]
    assert second["config"]["l2"] == pytest.approx(first["config"]["l2"])


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_defaults_beat_the_bias_baseline_with_few_ratings(share: float) -> None:
    data = tastes()
    kept = np.random.default_rng(0).random(len(data.train)) < share
    train = replace(data.train, **{
        name: getattr(data.train, name)[kept] for name in ("user_index", "item_index", "rating")
    })  # fmt: skip
    errors = fit(replace(data, train=train), max_steps=300, ranking=False).artifact.manifest["metrics"]["test"]
    assert errors["model"]["rmse"] < (1.02 if share < 1 else 0.8) * errors["bias"]["rmse"]
