"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The folder that holds ml-100k, ml-1m and ml-latest-small."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("REELGRAPH_DATA", beside))
    if not (folder / "ml-latest-small" / "ratings.csv").is_file():
        pytest.fail(
            f"{folder}: expected the MovieLens folders ml-100k, ml-1m and ml-latest-small; "
            "set REELGRAPH_DATA to the folder that holds a copy of them"
        )
    return folder
