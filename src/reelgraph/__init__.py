"""reelgraph: a movie recommender built on a graph neural network.

import reelgraph as rg
data = rg.load("ratings.csv", items="movies.csv")
model = rg.fit(data, seed=0)
model.recommend(user="1", k=10, genre="Drama")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reelgraph import machine
from reelgraph._version import __version__

machine.set_environment()

if TYPE_CHECKING:
    from reelgraph import errors, metrics
    from reelgraph.config import DataConfig, TrainConfig
    from reelgraph.data.dataset import Dataset
    from reelgraph.data.load import load
    from reelgraph.errors import ReelgraphError
    from reelgraph.recommend.recommender import Recommender
    from reelgraph.recommend.recommender import open_model as open  # noqa: A004
    from reelgraph.training.cross_validation import cross_validate
    from reelgraph.training.fit import fit
    from reelgraph.training.trainer import Trainer
    from reelgraph.training.update import update_model as update

__all__ = [
    "DataConfig", "Dataset", "Recommender", "ReelgraphError", "TrainConfig", "Trainer", "__version__", "cross_validate",
    "errors", "fit", "load", "metrics", "open", "update",
]  # fmt: skip

# Imported on first use, because training needs torch and serving must not load it. Modules have no attribute.
_SOURCES = {
    "DataConfig": ("config", "DataConfig"),
    "Dataset": ("data.dataset", "Dataset"),
    "Recommender": ("recommend.recommender", "Recommender"),
    "ReelgraphError": ("errors", "ReelgraphError"),
    "TrainConfig": ("config", "TrainConfig"),
    "Trainer": ("training.trainer", "Trainer"),
    "cross_validate": ("training.cross_validation", "cross_validate"),
    "errors": ("errors", ""),
    "fit": ("training.fit", "fit"),
    "load": ("data.load", "load"),
    "metrics": ("metrics", ""),
    "open": ("recommend.recommender", "open_model"),
    "update": ("training.update", "update_model"),
}


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module 'reelgraph' has no attribute {name!r}")
    module, attribute = _SOURCES[name]
    found = import_module(f"reelgraph.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(__all__)
