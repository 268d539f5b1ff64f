"""Every setting of reelgraph, validated once; a field's description is its help on the command line."""

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_STRICT = ConfigDict(frozen=True, extra="forbid")


# Chosen by the RMSE on validation ratings of ML-100K, ML-1M and ml-latest-small: 4.1e-4 at 80 thousand ratings, and
# with Huber's gradient half of a squared error's a little above the inverse of their number.
_L2_AT, _L2_RATINGS, _L2_POWER = 4.1e-4, 8.0e4, 0.83


# As chosen on those data sets up to a million ratings, beyond it on synthetic ones of 4 and 20 million
# (benchmarks/scale.py): their first steps are best at 0.005 and 0.003.
_RATE, _DECAY_STEPS, _RATE_RATINGS, _RATE_POWER = 0.01, 100.0, 1e6, 0.4


# Above so many training ratings a fit is less patient, as the error scatters less, and the refit goes on from it for a
# share of its steps: half the time of one from the start (docs/experiments.md).
_MANY, _MORE_STEPS = 1_000_000, 0.5


# Settings of the ranking head by the names that the loop knows them by, and what the loop uses for it; chosen by the
# nDCG@10 on validation ratings of the same data sets.
RANKING = ("dim", "l2", "hide", "newcomers", "dropout", "max_steps")

_RANK_L2_AT, _RANK_L2_POWER = 1.0e-4, 1.25

_RANK_RATE_POWER = 0.176  # of the number of ratings: a step size of 0.02, halved after 100 steps, at 80 thousand

_RANKING_LOOP: dict[str, Any] = {
    "model": "residual", "learning_rate": 0.02, "decay_steps": 100.0, "average": 0.98, "eval_every": 20, "patience": 5,
    "side_l2": 1.0,
}  # fmt: skip

_CLASSIC = {
    "learning_rate": 0.01, "decay_steps": 0.0, "average": 0.0, "eval_every": 1, "l2": 0.0, "tune": "none",
    "ranking": False,
}  # fmt: skip


class DataConfig(BaseModel):
    """How ratings are read, checked and split."""

    model_config = _STRICT

    columns: dict[str, str] = Field(
        {}, description="columns of the file by role: user=NAME,item=NAME,rating=NAME,timestamp=NAME (positions from 1 "
        "without a header)"
    )  # fmt: skip
    scale: tuple[float, float] | None = Field(None, description="rating scale; inferred when not given")
    split: Literal["random", "time", "last", "given"] = Field("random", description="how ratings are set aside")
    valid_share: float = Field(0.1, ge=0, lt=1, description="share of the ratings not for test that is for validation")
    test_share: float = Field(0.1, ge=0, lt=1, description="share of the ratings that is for test (random, time)")
    last: int = Field(1, ge=1, description="ratings of each user for test, and as many for validation (last)")
    split_seed: int = Field(0, ge=0, description="seed of the random split")
    engine: str = Field("duckdb", description="duckdb, spark, local[N], spark://host:port or sc://host:port")
    stage: str | None = Field(
        None, description="directory for files on the way, which all workers of the engine share; that of temporary "
        "files when not given"
    )  # fmt: skip
    strict: bool = Field(False, description="stop when a row has to be refused")

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
    """L2 strength, Adam's step size at the start, the steps after which it is half, and the patience."""

    l2: float
    learning_rate: float
    decay_steps: float
    patience: int


class TrainConfig(BaseModel):
    """How a model is fitted."""

    model_config = _STRICT

    model: Literal["residual", "gcn"] = Field("residual", description="rating model: residual (default) or gcn")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of everything random in the fit")
    dim: int = Field(32, ge=1, le=1024, description="size of the node states")
    hide: float = Field(0.2, gt=0, lt=1, description="share of the ratings hidden in each step (residual)")
    newcomers: float = Field(
        0.1, ge=0, lt=1, description="share of the users of whom a step hides nearly all, as if they were visitors"
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="share of the entries dropped in each step")
    huber_delta: float = Field(1.5, gt=0, description="where Huber's loss turns linear, in standard deviations")
    l2: float | None = Field(None, ge=0, description="L2 strength; from the number of ratings when not given")
    side_l2: float = Field(10.0, ge=0, description="L2 strength on side features, as a multiple of --l2")
    learning_rate: float | None = Field(
        None, gt=0, description="Adam's step size at the start; from the number of ratings when not given"
    )
    decay_steps: float | None = Field(
        None, ge=0, description="steps after which the step size is half; 0 is never; from the number of ratings when "
        "not given"
    )  # fmt: skip
    average: float = Field(0.98, ge=0, lt=1, description="decay of the running average of the weights; 0 is none")
    max_steps: int = Field(1000, ge=1, description="most steps of a fit")
    eval_every: int = Field(10, ge=1, description="steps between two evaluations on the validation ratings")
    patience: int | None = Field(
        None, ge=1, description="evaluations without a better validation RMSE before the fit stops; 20, or 10 above a "
        "million training ratings, when not given"
    )  # fmt: skip
    session: bool = Field(True, description="use the time of rating where the ratings have one")
    side_features: bool = Field(True, description="use the columns of --items and --users as side features")
    min_improvement: float = Field(
        5e-4, ge=0, lt=1, description="share by which the RMSE must fall to count as better for --patience"
    )
    ranking: bool = Field(True, description="train a ranking head beside the rating head")
    rank_dim: int = Field(128, ge=1, le=1024, description="size of the ranking head's states")
    temperature: float = Field(0.1, gt=0, description="softmax temperature of the ranking head")
    rank_l2: float | None = Field(
        None, ge=0, description="L2 strength of the ranking head; from the number of ratings when not given"
    )
    rank_hide: float = Field(
        0.3, gt=0, lt=1, description="share of the ratings hidden in each step of the ranking head"
    )
    rank_newcomers: float = Field(0.2, ge=0, lt=1, description="the same share for the ranking head")
    rank_dropout: float = Field(0.2, ge=0, lt=1, description="share of the entries dropped in the ranking head")
    rank_max_steps: int = Field(400, ge=1, description="most steps of a fit of the ranking head")
    tune: Literal["none", "quick", "full"] = Field(
        "quick", description="search for settings by validation: quick takes up to three times a plain training"
    )
    refit: bool = Field(True, description="fit again on train and validation with the chosen number of steps")
    processes: int = Field(
        1, ge=1, le=4096, description="processes to train in, on this machine or on the workers of --engine spark://"
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="least time between two checkpoints, in seconds")

    @model_validator(mode="before")
    @classmethod
    def _classic_defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model") == "gcn":
            return _CLASSIC | values
        return values

    @model_validator(mode="after")
    def _one_process_for_the_classic(self) -> "TrainConfig":
        if self.model == "gcn" and self.processes > 1:
            raise ValueError("expected 1 for gcn, which only one process trains")
        return self

    def for_ranking(self, num_ratings: int) -> "TrainConfig":
        """The settings under which the loop fits the ranking head to a number of training ratings."""
        l2 = rank_l2_rule(num_ratings) if self.rank_l2 is None else self.rank_l2
        changed = {name: getattr(self, f"rank_{name}") for name in RANKING if name != "l2"}
        larger = (num_ratings / _L2_RATINGS) ** _RANK_RATE_POWER
        rate = {name: _RANKING_LOOP[name] * larger for name in ("learning_rate", "decay_steps")}
        return self.model_copy(update=_RANKING_LOOP | changed | rate | {"l2": l2})

    def refit_steps(self, num_ratings: int, best: int) -> int:
        """Steps of the refit after a fit on a number of training ratings whose best step is given."""
        return best if num_ratings <= _MANY else math.ceil(_MORE_STEPS * best)

    def going_on(self, num_ratings: int, step: int) -> "TrainConfig | None":
        """The settings of a refit that goes on from the best step of a fit with these; None if it starts anew.

        The step size is what it was there, and falls as it would have.
        """
        if num_ratings <= _MANY:
            return None
        rates, steps = self.rates(num_ratings), self.refit_steps(num_ratings, step)
        gone = 1 + step / rates.decay_steps if rates.decay_steps else 1.0
        later = {"learning_rate": rates.learning_rate / gone, "decay_steps": rates.decay_steps * gone}
        return self.model_copy(update=later | {"max_steps": steps})

    def rates(self, num_ratings: int) -> Rates:
        """What depends on the number of training ratings: as given, else by the rules."""
        slower = slower_rule(num_ratings)
        return Rates(
            l2_rule(num_ratings) if self.l2 is None else self.l2,
            _RATE / slower if self.learning_rate is None else self.learning_rate,
            _DECAY_STEPS * slower if self.decay_steps is None else self.decay_steps,
            (20 if num_ratings <= _MANY else 10) if self.patience is None else self.patience,
        )


def rank_l2_rule(num_ratings: int) -> float:
    """The ranking head's L2 strength to start from, by the number of training ratings."""
    return float(_RANK_L2_AT * (_L2_RATINGS / num_ratings) ** _RANK_L2_POWER)


def slower_rule(num_ratings: int) -> float:
    """How many times smaller the first steps are, and slower to decay, by the number of training ratings.

    The more ratings, the farther a step of usual size throws the states beyond what the ratings say of them. Late steps
    are of one size for all.
    """
    return float(max(1.0, num_ratings / _RATE_RATINGS) ** _RATE_POWER)


def l2_rule(num_ratings: int) -> float:
    """The L2 strength to start from, by the number of training ratings."""
    return float(_L2_AT * (_L2_RATINGS / num_ratings) ** _L2_POWER)


LIKED = 0.8


# Beside the plain training (fit and refit): quick may take as much as two more, which makes three in all.
BUDGETS = {"none": 0.0, "quick": 2.0, "full": 30.0}

RANK_SHARE = 0.375  # of that for the ranking head, whose step takes as long as several of the rating model

LIMITS = {"dim": (1, 128), "hide": (0.02, 0.6), "huber_delta": (1.0, 10.0)}
