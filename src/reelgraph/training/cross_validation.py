"""Cross-validation: a model for each fold of the ratings, measured on that fold."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Mask
from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.errors import ConfigError
from reelgraph.tabular import Tabular
from reelgraph.training.fit import fit

VALID_SHARE = 0.1  # of the ratings outside a fold, where the data has no validation ratings
MEASURES = {"rmse": "RMSE", "ndcg": "nDCG@10"}  # that the first line of a display shows


@dataclass(frozen=True)
class Fold:
    """The measures of one fold's model on its test ratings; None for what the model does not do."""

    fold: int  # from 1
    ratings: int  # test ratings
    rmse: float | None
    mae: float | None
    bias_rmse: float | None  # of damped biases, fitted to the same ratings
    ndcg: float | None  # of the default lists
    recall: float | None
    coverage: float | None


@dataclass(frozen=True, repr=False)
class CrossValidation(Tabular):
    """The measures of all folds."""

    folds: tuple[Fold, ...]

    def mean(self, measure: str) -> float:
        """The mean of a measure, such as "rmse", over the folds; NaN if no fold has it."""
        return float(np.mean(self._values(measure)))

    def std(self, measure: str) -> float:
        """The standard deviation of a measure over the folds, with n - 1 in the denominator."""
        return float(np.std(self._values(measure), ddof=1))

    def _values(self, measure: str) -> list[float]:
        values = [getattr(fold, measure) for fold in self.folds]
        return [float("nan") if value is None else value for value in values]

    def to_arrow(self) -> pa.Table:
        """A row for each fold, with the columns of `Fold`."""
        return pa.Table.from_pylist([asdict(fold) for fold in self.folds])

    def _title(self, table: pa.Table) -> str:
        parts = [
            f"{label} {self.mean(name):.4f} ± {self.std(name):.4f}"
            for name, label in MEASURES.items()
            if not np.isnan(self.mean(name))
        ]
        return f"{super()._title(table)}: {', '.join(parts)} (standard deviation over the folds)"


def cross_validate(
    data: Dataset, config: TrainConfig | None = None, *, folds: int = 5, seed: int = 0, progress: bool = True
) -> CrossValidation:
    """Train on all ratings but those of a fold, and measure the model on them, for each of several folds.

    The splits of `data` are joined and split anew at random. Each model is tuned and stopped by validation ratings of
    its own, taken from outside the fold in the proportion that `data` has.

    Args:
        data: the ratings.
        config: settings of every training.
        folds: number of parts.
        seed: of the split into folds and validation ratings.
        progress: show bars, on a terminal or in a notebook.

    Raises:
        ConfigError: if there are fewer than 2 folds, or fewer ratings than folds.
    """
    every = merge(merge(data.train, data.valid), data.test)
    if not 2 <= folds <= len(every):
        problem = f"folds: expected 2 to {len(every):,} (the number of ratings), found {folds}"
        raise ConfigError(problem, "choose a number in between")
    config = (config or TrainConfig()).changed({"use_all": False})
    rng = np.random.default_rng(seed)
    fold_of = rng.permutation(len(every)) % folds
    share = len(data.valid) / max(len(data.valid) + len(data.train), 1) or VALID_SHARE
    measured = []
    for number in range(folds):
        part = _split(data, every, fold_of == number, rng.random(len(every)) < share)
        measured.append(_measure(number + 1, part, config, progress))
    return CrossValidation(tuple(measured))


def _split(data: Dataset, every: Interactions, tested: Mask, held: Mask) -> Dataset:
    train, valid, test = every.take(~tested & ~held), every.take(~tested & held), every.take(tested)
    counts = data.manifest["counts"] | {"train": len(train), "valid": len(valid), "test": len(test)}
    manifest = data.manifest | {"counts": counts, "split": data.manifest["split"] | {"kind": "random"}}
    return replace(data, train=train, valid=valid, test=test, manifest=manifest)


def _measure(number: int, data: Dataset, config: TrainConfig, progress: bool) -> Fold:
    manifest = fit(data, config, progress=progress).artifact.manifest
    errors, lists = manifest["metrics"]["test"], manifest["analysis"]["lists"]["default"]
    return Fold(
        number,
        len(data.test),
        errors["model"].get("rmse"),
        errors["model"].get("mae"),
        errors.get("bias", {}).get("rmse"),
        *(lists[name] for name in ("ndcg", "recall", "coverage")),
    )
