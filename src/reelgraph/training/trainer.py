"""`Trainer`, a training with the methods that scikit-learn's tools call."""

from typing import Any, Self

from reelgraph.arrays import Float32s
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset
from reelgraph.data.frames import TableLike
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit


class Trainer:
    """Settings of a training, fields of `TrainConfig` by name; `fit` keeps the model as `model_`."""

    model_: Recommender

    def __init__(self, **settings: Any) -> None:
        self._settings: dict[str, Any] = {}
        self.set_params(**settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 (scikit-learn passes it)
        """All settings by name."""
        return {name: self._settings.get(name, field.default) for name, field in TrainConfig.model_fields.items()}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; one at its default counts as not given, so that tuning may choose it.

        Raises:
            ConfigError: if a name is unknown or a value out of range.
        """
        default = {name: field.default for name, field in TrainConfig.model_fields.items()}
        every = self._settings | settings
        changed = {name: value for name, value in every.items() if name not in default or value != default[name]}
        TrainConfig(**changed)
        self._settings = changed
        return self

    def fit(self, data: Dataset, y: object = None, *, progress: bool = True) -> Self:  # noqa: ARG002
        """Train on ratings, see `reelgraph.fit`; `y` is ignored."""
        self.model_ = fit(data, TrainConfig(**self._settings), progress=progress)
        return self

    def predict(self, pairs: TableLike) -> Float32s:
        """Predicted ratings of pairs; see `Recommender.predict`."""
        return self.model_.predict(pairs)

    def score(self, test: TableLike, y: object = None) -> float:  # noqa: ARG002
        """The negative RMSE on test ratings: larger is better."""
        return -self.model_.evaluate(test).rmse

    def __repr__(self) -> str:
        given = [f"{name}={self._settings[name]!r}" for name in TrainConfig.model_fields if name in self._settings]
        return f"Trainer({', '.join(given)})"
