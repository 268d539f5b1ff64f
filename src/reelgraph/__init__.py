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
    from reelgraph.config import DataConfig, TrainConfig
    from reelgraph.data.dataset import Dataset
    from reelgraph.data.load import load
    from reelgraph.errors import ReelgraphError
    from reelgraph.recommend.recommender import Recommender
    from reelgraph.recommend.recommender import open_model as open  # noqa: A004
    from reelgraph.training.fit import fit
    from reelgraph.training.update import update_model as update

__all__ = [
    "DataConfig", "Dataset", "Recommender", "ReelgraphError", "TrainConfig", "__version__", "fit", "load", "open",
    "update",
]  # fmt: skip

# Imported on first use, because training needs torch and serving must not load it.
_SOURCES = {
    "DataConfig": ("config", "DataConfig"),
    "Dataset": ("data.dataset", "Dataset"),
    "Recommender": ("recommend.recommender", "Recommender"),
    "ReelgraphError": ("errors", "ReelgraphError"),
    "TrainConfig": ("config", "TrainConfig"),
    "fit": ("training.fit", "fit"),
    "load": ("data.load", "load"),
    "open": ("recommend.recommender", "open_model"),
    "update": ("training.update", "update_model"),
}


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module 'reelgraph' has no attribute {name!r}")
    module, attribute = _SOURCES[name]
    return getattr(import_module(f"reelgraph.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
