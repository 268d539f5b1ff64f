"""One code, two engines: what DuckDB prepares and what Spark prepares is equal, row by row."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from parity import compare

from reelgraph.config import DataConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.data.engine import open_engine
from reelgraph.data.prepare import prepare
from reelgraph.data.sources import Source, find

DIRTY = """userId,movieId,rating,timestamp
é,1,4.5,881250949
é,1,3,881250950
b,1,nan,1
b,2,1d,1
b,3,1_000,1
b,4,1e999,1
b,5, 2 ,1997-12-04T15:55:49Z
b,6,5,1997-12-04 15:55:49.75
b,7,5,1997-13-04
b,8,5,
,9,5,1
b,,5,1
b,10,-Infinity,1
b,11,NULL,1
"c,d",1,1,881250949123
"c,d",2,.5,-5
"c,d",2,4,-6
"c,d",3,4.,1e9
x,1
B,1,2,99999999999999999999
B,2,2,4
B,3,5,0012
B,4,"4
",1
B,5,4,"1997-12-04
"
"""
TEST = "userId,movieId,rating,timestamp\nB,2,3,9\nnew,1,1,9\nB,2,4,8\nB,9,x,8\n"
# Names that mean something to SQL, that differ by case alone, or that preparation uses itself.
ITEMS = """movieId,Title,title,a.b,c`d,e f,g'h,item_index,row,reason,genres
2,A,The Two (1999),1,2,3,4,5,6,7,X|Y
99,B,é,,,,,,,,(no genres listed)
2,C,again,,,,,,,,
"""
USERS = "userId,user_index,digest,bucket,age\né,7,1,2,33\nnobody,8,,,\n"


@pytest.fixture(scope="module")
def one_session() -> Iterator[None]:
    """Spark takes long to start: within this, engines of that name use one session."""
    with open_engine("local[2]"):
        yield


def both(tmp_path: Path, source: Source, **config: Any) -> Path:
    """Prepare on both engines and compare."""
    for engine in ("duckdb", "local[2]"):
        settings = DataConfig(engine=engine, **config)
        prepare(source, settings, tmp_path / re.sub(r"\W", "", engine), lambda line: None)
    compare(tmp_path / "duckdb", tmp_path / "local2")
    return tmp_path / "duckdb"


@pytest.mark.usefixtures("one_session")
def test_ml_latest_small_is_prepared_alike(movielens: Path, tmp_path: Path) -> None:
    prepared = load_prepared(both(tmp_path, find(movielens / "ml-latest-small")))
    assert len(prepared.train) + len(prepared.valid) + len(prepared.test) == 100_004
    assert len(prepared.items) == 9125


@pytest.mark.usefixtures("one_session")
@pytest.mark.parametrize("split", ["random", "time", "last", "given"])
def test_dirty_rows_are_judged_alike(tmp_path: Path, split: str) -> None:
    for name, text in (("r.csv", DIRTY), ("t.csv", TEST), ("i.csv", ITEMS), ("u.csv", USERS)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    test = tmp_path / "t.csv" if split == "given" else None
    source = Source(tmp_path / "r.csv", tmp_path / "i.csv", tmp_path / "u.csv", test)
    prepared = both(tmp_path, source, split=split, valid_share=0.3, test_share=0.3)
    reasons = load_prepared(prepared).manifest["reasons"]
    assert reasons["rating is not a number"] == (4 if split == "given" else 3)
    assert reasons["rating is infinite"] == 2
    assert reasons["timestamp is not a number or date"] == 3
    times = pq.read_table(prepared / "ratings.parquet")["timestamp"].to_pylist()
    assert times.count(881250949) == 3
