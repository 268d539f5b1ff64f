"""Settings of data and training, and constants that training, serving and planning share."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from reelgraph.errors import ConfigError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Kind
else:
    _Kind = type(BaseModel)

# Rule for L2, chosen by validation RMSE on ML-100K, ML-1M and ml-latest-small: 4.1e-4 at 80 thousand ratings, then a
# little above the inverse of their number, because the Huber loss has half the gradient of the squared error.
_L2_AT, _L2_RATINGS, _L2_POWER = 4.1e-4, 8.0e4, 0.83

# Rule for the step size, constant up to a million ratings. Above, chosen on synthetic data of 4 and 20 million ratings
# (benchmarks/scale.py), whose best first steps are 0.005 and 0.003.
_RATE, _DECAY_STEPS, _RATE_RATINGS, _RATE_POWER = 0.01, 100.0, 1e6, 0.4

# Most steps and patience up to a million ratings, and above, where the error scatters less from step to step and the
# first steps are smaller (docs/experiments.md).
_USUAL, _LARGE = (300, 20), (400, 10)

# Settings that exist as `rank_*` for the ranking head, and the loop's other settings for it, chosen by validation
# nDCG@10 on the same data sets.
RANKING = ("dim", "l2", "hide", "newcomers", "dropout", "max_steps")
_RANK_L2_AT, _RANK_L2_POWER = 1.0e-4, 1.25
_RANK_RATE_POWER = 0.176  # of the number of ratings: the step size is 0.02, halved after 100 steps, at 80 thousand
_WIDER = 300_000  # ratings from which on 64 dimensions predict better than 32, and 128 rank better than 64
_RANKING_LOOP: dict[str, Any] = {
    "model": "residual", "learning_rate": 0.02, "decay_steps": 100.0, "average": 0.98, "eval_every": 10, "patience": 3,
    "min_improvement": 5e-4, "side_l2": 1.0,
}  # fmt: skip

_GCN_DEFAULTS = {
    "learning_rate": 0.01, "decay_steps": 0.0, "average": 0.0, "eval_every": 1, "max_steps": 800,
    "patience": 20, "min_improvement": 5e-4, "l2": 0.0, "tune": "none", "ranking": False,
}  # fmt: skip

TRIALS = {"none": 0, "quick": 8, "full": 30}  # most trials of the search, for each head
RACE_STEPS = 60  # of a trial of the quick search
RACE_RATINGS = 300_000  # from which on the first steps favour an L2 strength that is too small at the end
LIMITS = {"dim": (1, 128), "hide": (0.02, 0.6), "huber_delta": (1.0, 10.0)}  # bounds of the search


class _Refusing(_Kind):
    """Makes settings refuse invalid values with this library's own error."""

    def __call__(cls, *arguments: Any, **values: Any) -> Any:  # noqa: N805
        try:
            return super().__call__(*arguments, **values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or cls.__name__
            unknown = first["type"] == "extra_forbidden"
            fields: Any = cls  # the class of settings, whose fields this metaclass does not declare
            names = ", ".join(fields.model_fields)
            remedy = f"the settings are {names}" if unknown else "correct it"
            raise ConfigError(f"setting {where}: {first['msg'].lower()}, found {first['input']!r}", remedy) from None


class Checked(BaseModel, metaclass=_Refusing):
    """Frozen settings; an unknown name or an invalid value raises a `ConfigError`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def changed(self, names: Mapping[str, Any]) -> Self:
        """These settings with the values of `names` that are settings and not None."""
        given = {name: names[name] for name in type(self).model_fields if names.get(name) is not None}
        return type(self)(**(self.model_dump(include=self.model_fields_set) | given)) if given else self


class DataConfig(Checked):
    """How ratings are read, checked and split."""

    columns: dict[str, str] = Field(
        {}, description="columns by role (user, item, rating, timestamp), such as user=who,item=what; or positions "
        "from 1 in files without a header"
    )  # fmt: skip
    item_columns: dict[str, str] = Field(
        {}, description="columns of the movie table by role (id, title, year, genres), such as title=name"
    )
    user_columns: dict[str, str] = Field({}, description="columns of the user table by role: id=NAME")
    missing: tuple[float, ...] = Field((), description="ratings that stand for no rating, such as 99 or -1,0")
    scale: tuple[float, float] | None = Field(None, description="rating scale; default: inferred from the ratings")
    split: Literal["random", "time", "last", "given"] = Field("random", description="how test ratings are chosen")
    valid_share: float = Field(0.1, ge=0, lt=1, description="share of the remaining ratings used for validation")
    test_share: float = Field(0.1, ge=0, lt=1, description="share of the ratings used for test (random, time)")
    last: int = Field(
        1, ge=1, description="number of each user's latest ratings used for test, and the same number before them for "
        "validation (last)"
    )  # fmt: skip
    split_seed: int = Field(0, ge=0, description="seed of the random split")
    engine: str = Field("duckdb", description="duckdb, spark, local[N], spark://host:port or sc://host:port")
    stage: str | None = Field(
        None, description="directory for intermediate files, shared by all workers of the engine; default: a temporary "
        "directory"
    )  # fmt: skip
    implicit: bool = Field(
        False, description="RATINGS holds views, likes or play counts instead of ratings: train lists without stars"
    )
    matrix: bool = Field(False, description="the file has a row for each user and a column for each movie")
    strict: bool = Field(False, description="fail if any row is invalid")

    @field_validator("scale")
    @classmethod
    def _ordered(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[0] < scale[1]):
            raise ValueError("expected the lower end first, both finite")
        return scale

    @field_validator("stage")
    @classmethod
    def _there(cls, stage: str | None) -> str | None:
        if stage is not None and not Path(stage).is_dir():
            raise ValueError("expected a directory that exists")
        return stage


class Rates(NamedTuple):
    """Dimension, L2 strength, initial step size of Adam, steps after which it is halved, and when the fit ends."""

    l2: float
    learning_rate: float
    decay_steps: float
    max_steps: int
    patience: int
    dim: int


class TrainConfig(Checked):
    """How a model is trained."""

    model: Literal["residual", "gcn", "ranking"] = Field(
        "residual", description="rating model, or ranking for the ranking head alone, the default with --implicit"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="random seed of the training")
    dim: int = Field(
        32, ge=1, le=1024, description="size of user and movie vectors; default for residual from 300,000 to a million "
        "training ratings: 64"
    )  # fmt: skip
    hide: float = Field(
        0.2, gt=0, lt=1, description="share of the ratings hidden and predicted in each step (residual)"
    )
    newcomers: float = Field(
        0.0, ge=0, lt=1, description="share of the users treated as new in each step: nearly all of their ratings are "
        "hidden"
    )  # fmt: skip
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout rate")
    huber_delta: float = Field(
        2.0, gt=0, description="error above which the Huber loss is linear, in standard deviations of the ratings"
    )
    l2: float | None = Field(None, ge=0, description="L2 strength; default: depends on the number of ratings")
    side_l2: float = Field(10.0, ge=0, description="L2 strength for side features, as a multiple of --l2")
    learning_rate: float | None = Field(
        None, gt=0, description="initial step size of Adam; default: depends on the number of ratings"
    )
    decay_steps: float | None = Field(
        None, ge=0, description="steps after which the step size is halved, 0 for never; default: depends on the "
        "number of ratings"
    )  # fmt: skip
    average: float = Field(0.98, ge=0, lt=1, description="decay of the moving average of the weights, 0 for none")
    max_steps: int | None = Field(
        None, ge=1, description="maximum number of steps; default for residual: 300, or 400 above a million "
        "training ratings"
    )  # fmt: skip
    eval_every: int = Field(10, ge=1, description="steps between evaluations on validation ratings")
    patience: int | None = Field(
        None, ge=1, description="stop after this many evaluations without a lower validation RMSE; default: 20, or 10 "
        "for residual above a million training ratings"
    )  # fmt: skip
    session: bool = Field(True, description="use the time of rating if the ratings have timestamps")
    side_features: bool = Field(True, description="use the columns of --items and --users as side features")
    min_improvement: float = Field(
        1e-3,
        ge=0,
        lt=1,
        description="relative decrease of the RMSE that counts: smaller ones use up --patience, and "
        "the fit keeps the latest step that no other beats by more",
    )
    ranking: bool = Field(True, description="train a ranking head in addition to the rating head")
    rank_dim: int | None = Field(
        None, ge=1, le=1024, description="size of user and movie vectors of the ranking head; default: 64, or 128 from "
        "300,000 training ratings"
    )  # fmt: skip
    temperature: float = Field(0.1, gt=0, description="softmax temperature of the ranking head")
    rank_l2: float | None = Field(
        None, ge=0, description="L2 strength of the ranking head; default: depends on the number of ratings"
    )
    rank_hide: float = Field(
        0.3, gt=0, lt=1, description="share of the ratings hidden and predicted in each step of the ranking head"
    )
    rank_newcomers: float = Field(
        0.2, ge=0, lt=1, description="share of the users treated as new in each step of the ranking head"
    )
    rank_dropout: float = Field(0.2, ge=0, lt=1, description="dropout rate of the ranking head")
    rank_max_steps: int = Field(200, ge=1, description="maximum number of steps of the ranking head")
    tune: Literal["none", "quick", "full"] = Field(
        "quick",
        description="tune settings on validation ratings: quick begins the fit with some and goes on with the best, "
        "full repeats it with each",
    )
    refit: bool = Field(
        True, description="train again on training and validation ratings with the best number of steps"
    )
    use_all: bool = Field(
        True, description="after the errors are measured, add validation and test ratings to the saved model, so that "
        "no list suggests them"
    )  # fmt: skip
    processes: int = Field(
        1, ge=1, le=4096, description="training processes, on this machine or on the workers of --engine spark://"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where to train; auto is a GPU that CUDA or ROCm finds, else the CPU"
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="minimum time between checkpoints, in seconds")

    @property
    def given(self) -> frozenset[str]:
        """The settings that the user gave."""
        return frozenset(name for name in self.model_fields_set if getattr(self, name) is not None)

    @model_validator(mode="before")
    @classmethod
    def _use_gcn_defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model") == "gcn":
            return _GCN_DEFAULTS | values
        return values

    @model_validator(mode="after")
    def _check_processes(self) -> "TrainConfig":
        if self.model == "gcn" and self.processes > 1:
            raise ValueError("expected 1 for gcn, which trains in one process")
        return self

    def without_stars(self) -> "TrainConfig":
        """Settings for views, likes or counts: the ranking head alone."""
        if "model" in self.model_fields_set and self.model != "ranking":
            raise ConfigError(f"--model {self.model}: expected ratings, found views, likes or counts", "leave it out")
        if not self.ranking:
            raise ConfigError("--no-ranking: expected ratings, found views, likes or counts", "leave it out")
        return self.model_copy(update={"model": "ranking"})

    def for_ranking(self, num_ratings: int) -> "TrainConfig":
        """Settings of the loop for a ranking head with `num_ratings` training ratings."""
        l2 = rank_l2_rule(num_ratings) if self.rank_l2 is None else self.rank_l2
        dim = (64 if num_ratings < _WIDER else 128) if self.rank_dim is None else self.rank_dim
        own = {name: getattr(self, f"rank_{name}") for name in RANKING} | {"l2": l2, "dim": dim}
        larger = (num_ratings / _L2_RATINGS) ** _RANK_RATE_POWER
        rate = {name: _RANKING_LOOP[name] * larger for name in ("learning_rate", "decay_steps")}
        return self.model_copy(update=_RANKING_LOOP | own | rate)

    def rates(self, num_ratings: int) -> Rates:
        """Settings that depend on the number of training ratings: as given, else by rule."""
        wider = _WIDER <= num_ratings <= _RATE_RATINGS and self.model == "residual"
        wider = wider and "dim" not in self.model_fields_set
        slower = slower_rule(num_ratings)
        steps, patience = _USUAL if num_ratings <= _RATE_RATINGS else _LARGE
        return Rates(
            l2_rule(num_ratings) if self.l2 is None else self.l2,
            _RATE / slower if self.learning_rate is None else self.learning_rate,
            _DECAY_STEPS * slower if self.decay_steps is None else self.decay_steps,
            steps if self.max_steps is None else self.max_steps,
            patience if self.patience is None else self.patience,
            64 if wider else self.dim,
        )

    def refit_steps(self, steps: int, num_ratings: int) -> int:
        """Steps of a refit that continues a fit of some steps on `num_ratings` training ratings."""
        # A longer one predicts better, and takes too long on large data (docs/experiments.md).
        return steps if self.model == "residual" and num_ratings <= _RATE_RATINGS else math.ceil(steps / 2)


def rank_l2_rule(num_ratings: int) -> float:
    """Default L2 strength of the ranking head."""
    return float(_RANK_L2_AT * (_L2_RATINGS / num_ratings) ** _RANK_L2_POWER)


def slower_rule(num_ratings: int) -> float:
    """Factor by which the initial step size is smaller and its decay slower; late step sizes are the same for all.

    The more ratings, the further a step of the usual size overshoots.
    """
    return float(max(1.0, num_ratings / _RATE_RATINGS) ** _RATE_POWER)


def l2_rule(num_ratings: int) -> float:
    """Default L2 strength."""
    return float(_L2_AT * (_L2_RATINGS / num_ratings) ** _L2_POWER)
