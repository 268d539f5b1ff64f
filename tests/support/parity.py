"""A comparison of prepared directories, and a source with every kind of row that preparation treats differently."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from reelgraph.data.dataset import load_prepared
from reelgraph.data.sources import Source

FILES = ("ratings", "users", "items", "rejects")
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
# Column names that are special in SQL, that differ only in case, or that preparation uses itself.
ITEMS = """movieId,Title,title,a.b,c`d,e f,g'h,item_index,row,reason,genres
2,A,The Two (1999),1,2,3,4,5,6,7,X|Y
99,B,é,,,,,,,,(no genres listed)
2,C,again,,,,,,,,
"""
USERS = "userId,user_index,digest,bucket,age\né,7,1,2,33\nnobody,8,,,\n"


def compare(one: Path, other: Path) -> None:
    for name in FILES:
        first, second = pq.read_table(one / f"{name}.parquet"), pq.read_table(other / f"{name}.parquet")
        assert first.column_names == second.column_names, name
        assert [str(kind) for kind in first.schema.types] == [str(kind) for kind in second.schema.types], name
        assert first.to_pylist() == second.to_pylist(), name
    manifests: list[dict[str, Any]] = [load_prepared(path).manifest for path in (one, other)]
    for key in manifests[0].keys() - {"created", "engine"}:
        assert manifests[0][key] == manifests[1][key], key


def dirty(folder: Path, split: str) -> Source:
    """Write the files above; the test file is used by the split `given` only."""
    paths = [folder / name for name in ("r.csv", "i.csv", "u.csv", "t.csv")]
    for path, text in zip(paths, (DIRTY, ITEMS, USERS, TEST), strict=True):
        path.write_text(text, encoding="utf-8")
    ratings, items, users, test = paths
    return Source(ratings, items, users, test if split == "given" else None)
