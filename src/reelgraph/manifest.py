"""The manifest of a model: its entries, their types and their ranges."""

import json
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reelgraph.config import TrainConfig
from reelgraph.errors import ArtifactError
from reelgraph.scoring.intervals import ITEM_EDGES, LEVELS, USER_EDGES

_LARGEST = 1e15  # of a rating

_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Rating = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
_Width = Annotated[float, Field(ge=0, le=2 * _LARGEST)]
_Measures = dict[str, float | None]
_Widths = Annotated[
    list[
        Annotated[
            list[Annotated[list[_Width], Field(min_length=len(ITEM_EDGES), max_length=len(ITEM_EDGES))]],
            Field(min_length=len(USER_EDGES), max_length=len(USER_EDGES)),
        ]
    ],
    Field(min_length=len(LEVELS), max_length=len(LEVELS)),
]


class _Entry(BaseModel):
    """Base of all entries. Others than the declared ones are of a newer version and ignored; defaults are for older."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Config(TrainConfig):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Scale(_Entry):
    low: _Rating
    high: _Rating
    step: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> "_Scale":
        if not self.low < self.high:
            raise ValueError("expected the lower end below the higher one")
        return self


class _Standardise(_Entry):
    mean: _Rating
    std: float = Field(gt=0, le=_LARGEST)


class _Session(_Entry):
    seconds: float = Field(gt=0, le=1e9)
    damping: float = Field(gt=0, le=1e9)
    gain: float = Field(ge=-1e12, le=1e12)
    causal: bool


class _Intervals(_Entry):
    untimed: _Widths | None = None
    timed: _Widths | None = None


class _Trial(_Entry):
    change: str
    valid_error: float | None
    steps: _Count
    outcome: str


class _Damping(_Entry):
    best: float = Field(ge=0, le=1000)
    less_known: float = Field(ge=0, le=1000)
    valid: dict[str, _Measures] = {}


class _Ranking(_Entry):
    liked: float | None = None
    steps: _Count
    blend: float = Field(ge=0, le=1000)
    valid_ndcg: _Measures | None = None
    damping: _Damping | None = None
    tuning: list[_Trial] = []


class _Group(_Entry):
    name: str
    pairs: _Count
    rmse: float | None
    mae: float | None
    predicted: float | None
    actual: float | None


class _Analysis(_Entry):
    rmse: float | None = None
    mae: float | None = None
    rmse_untimed: float | None = None
    mae_untimed: float | None = None
    groups: dict[str, list[_Group]] = {}
    calibration: list[_Group] = []
    lists: dict[str, _Measures] = {}
    deletion: dict[str, _Measures] | None = None
    similar: dict[str, _Measures] | None = None


class _Source(_Entry):
    class File(_Entry):
        name: str

    files: list[File] = []
    id_types: dict[str, str]


class _Input(_Entry):
    path: str | None = None


class _Data(_Entry):
    counts: dict[str, _Count] = {}
    scale: _Scale | None = None
    split: dict[str, Any] = {}
    source: _Source
    settings: dict[str, Any] = {}
    inputs: dict[str, _Input] = {}


class _File(_Entry):
    bytes: _Count
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Machine(_Entry):
    threads: int = Field(ge=1, lt=2**31)


class Manifest(_Entry):
    """All entries that are read."""

    created: str | None = None
    config: _Config
    given: dict[str, Any] = {}
    machine: _Machine | None = None
    processes: _Count = 1
    interrupted: bool = False
    steps: _Count
    seconds: float | None = None
    tuning: list[_Trial] = []
    ranking: _Ranking | None = None
    session: _Session | None = None
    intervals: _Intervals | None = None
    changes: dict[str, _Count] = {}
    data: _Data
    scale: _Scale
    standardise: _Standardise
    analysis: _Analysis | None = None
    metrics: dict[str, dict[str, _Measures]] = {}
    sha256: str | None = None
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")], _File] = {}

    @model_validator(mode="after")
    def _agree(self) -> "Manifest":
        span = self.scale.high - self.scale.low
        near = 1e-6 * max(span, abs(self.scale.low), abs(self.scale.high))  # ratings are float32
        if self.data.scale not in {None, self.scale}:
            raise ValueError("expected the same scale in data.scale")
        if not self.scale.low - near <= self.standardise.mean <= self.scale.high + near:
            raise ValueError("expected standardise.mean on the scale")
        if self.standardise.std > max(span + near, 1.0):
            raise ValueError("expected standardise.std within the scale")
        for widths in (self.intervals.untimed, self.intervals.timed) if self.intervals else ():
            if widths is not None and (np.diff(widths, axis=0) < 0).any():
                raise ValueError("expected intervals that widen with their level")
        return self


def read_config(config: dict[str, Any]) -> TrainConfig:
    """The settings in a manifest that has been checked, without those that only newer versions know."""
    return _Config.model_validate(config)


def check_manifest(manifest: dict[str, Any]) -> None:
    """Check types and ranges of all entries; raises an ArtifactError, which does not name the file."""
    try:
        json.dumps(manifest, allow_nan=False, ensure_ascii=False).encode()
        Manifest.model_validate(manifest, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        entry, message = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Input should be ")
        problem = f"expected {entry} to be {message}, found {first['input']!r:.60}"
        match first["type"]:
            case "value_error":  # of the validators here
                problem = message.removeprefix("Value error, ")
            case "missing":
                problem = f"expected an entry {entry}, found none"
            case "model_type":
                problem = f"expected {entry} to be an object, found {first['input']!r:.60}"
        raise ArtifactError(problem) from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"expected finite numbers and plain text, found others ({error})") from None
