"""Rating and ranking metrics, and baselines. `reelgraph.metrics.rmse` and the like take DataFrames."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reelgraph.metrics.frames import (
        average_precision,
        hit_rate,
        list_report,
        mae,
        ndcg,
        precision,
        recall,
        reciprocal_rank,
        rmse,
    )

__all__ = [
    "average_precision", "hit_rate", "list_report", "mae", "ndcg", "precision", "recall", "reciprocal_rank", "rmse",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'reelgraph.metrics' has no attribute {name!r}")
    return getattr(import_module("reelgraph.metrics.frames"), name)


def __dir__() -> list[str]:
    return __all__
