"""The code for Spark ALS in docs/how-to/coming-from.md runs on a local Spark."""

from collections.abc import Iterator

import pandas as pd
import pytest

from reelgraph.engines.engine import open_engine
from tests.docs.pages import ROOT, blocks


@pytest.fixture
def session() -> Iterator[None]:
    with open_engine("local[2]"):
        yield


def test_spark_als_runs(session: None) -> None:
    page = (ROOT / "docs" / "how-to" / "coming-from.md").read_text(encoding="utf-8")
    (block,) = [block for block in blocks(page) if "recommendation import ALS" in block.code]
    pairs = [(user, movie) for user in range(12) for movie in range(10) if (user + movie) % 3]
    ratings = pd.DataFrame([(user, movie, 1.0 + (user * movie) % 5) for user, movie in pairs])
    ratings.columns = pd.Index(["userId", "movieId", "rating"])
    names: dict[str, object] = {"ratings": ratings, "test": ratings.tail(10)}
    exec(compile(block.code, "<page>", "exec"), names)
    lists = names["lists"].collect()  # type: ignore[attr-defined]
    assert len(lists) == 12
    assert all(len(row.recommendations) == 10 for row in lists)
