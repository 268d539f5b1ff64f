"""Cross-validation, and the training that scikit-learn's tools can set."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import reelgraph as rg
from reelgraph.data.dataset import Dataset, merge
from reelgraph.errors import ConfigError
from reelgraph.training import cross_validation
from tests.support.worlds import checkerboard, settings

SHORT: dict[str, Any] = {"max_steps": 30, "tune": "none", "ranking": False}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return checkerboard()


def test_every_rating_is_tested_once_by_a_model_that_does_not_know_it(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[Dataset] = []
    models: list[rg.Recommender] = []

    def fit(part: Dataset, *arguments: Any, **options: Any) -> rg.Recommender:
        parts.append(part)
        models.append(rg.fit(part, *arguments, **options))
        return models[-1]

    monkeypatch.setattr(cross_validation, "fit", fit)
    found = rg.cross_validate(data, settings(**SHORT), folds=3, progress=False)
    every = merge(merge(data.train, data.valid), data.test)
    tested = [
        (user, item) for part in parts for user, item in zip(part.test.user_index, part.test.item_index, strict=True)
    ]
    assert sorted(tested) == list(zip(every.user_index, every.item_index, strict=True))
    for part, model, fold in zip(parts, models, found.folds, strict=True):
        assert len(part.train) + len(part.valid) + len(part.test) == len(every)
        assert len(part.valid) > 0
        seen = set(zip(model.artifact.ratings.user_index, model.artifact.ratings.item_index, strict=True))
        assert not seen & set(zip(part.test.user_index, part.test.item_index, strict=True))
        rows = list(zip(*part.raw_ids(part.test), part.test.rating.tolist(), strict=True))
        assert fold.rmse == pytest.approx(model.evaluate(rows).rmse, abs=1e-6)
        assert fold.rmse is not None
        assert fold.bias_rmse is not None
        assert fold.rmse < fold.bias_rmse, "a checkerboard is what biases cannot predict"
    errors = [fold.rmse for fold in found.folds]
    assert found.mean("rmse") == pytest.approx(np.mean([error for error in errors if error is not None]))
    assert found.to_arrow()["rmse"].to_pylist() == errors
    assert f"RMSE {found.mean('rmse'):.4f} ± {found.std('rmse'):.4f}" in repr(found)


def test_the_number_of_folds_is_checked(data: Dataset) -> None:
    for folds in (0, 1, 10**6):
        with pytest.raises(ConfigError, match=f"found {folds}"):
            rg.cross_validate(data, folds=folds)


def test_a_trainer_has_the_settings_that_it_was_given(data: Dataset) -> None:
    trainer = rg.Trainer(**SHORT, dim=4)
    assert trainer.get_params() == rg.TrainConfig(**SHORT, dim=4).model_dump()
    copy = clone(trainer)
    assert copy is not trainer
    assert repr(copy) == repr(trainer) == "Trainer(dim=4, max_steps=30, ranking=False, tune='none')"
    assert copy.set_params(dim=3, seed=1) is copy
    assert (trainer.get_params()["dim"], copy.get_params()["dim"]) == (4, 3)
    for wrong in ({"dims": 3}, {"dim": 0}):
        with pytest.raises(rg.ReelgraphError, match="setting dim"):
            copy.set_params(**wrong)
    assert copy.get_params()["dim"] == 3
    fitted = copy.fit(data, progress=False)
    assert fitted is copy
    assert copy.model_.artifact.manifest["config"]["dim"] == 3
    pairs = list(zip(*data.raw_ids(data.test), strict=True))
    np.testing.assert_array_equal(copy.predict(pairs), copy.model_.predict(pairs))
    rows = [(*pair, 3.0) for pair in pairs]  # the ratings are 1 and 5
    with pytest.warns(UserWarning, match="among the model's own"):
        assert copy.score(rows) == pytest.approx(-2, abs=0.3)
