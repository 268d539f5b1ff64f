"""reelgraph: a movie recommender built on a graph neural network.

import reelgraph as rg
data = rg.load("ratings.csv", items="movies.csv")
model = rg.fit(data, seed=0)
model.recommend(user="1", k=10, genre="Drama")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reelgraph._version import __version__

if TYPE_CHECKING:
    from reelgraph.data.dataset import Dataset
    from reelgraph.data.load import load
    from reelgraph.errors import ReelgraphError
    from reelgraph.recommend.recommender import Recommender
    from reelgraph.recommend.recommender import open_model as open  # noqa: A004
    from reelgraph.training.fit import fit


__all__ = ["Dataset", "Recommender", "ReelgraphError", "__version__", "fit", "load", "open"]


# Imported when first used: training needs torch, serving must not wait for it.
_HOMES = {
    "Dataset": ("reelgraph.data.dataset", "Dataset"),
    "Recommender": ("reelgraph.recommend.recommender", "Recommender"),
    "ReelgraphError": ("reelgraph.errors", "ReelgraphError"),
    "fit": ("reelgraph.training.fit", "fit"),
    "load": ("reelgraph.data.load", "load"),
    "open": ("reelgraph.recommend.recommender", "open_model"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reelgraph' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
