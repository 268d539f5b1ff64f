"""One code, two engines: what DuckDB prepares and what Spark prepares is equal, row by row."""

import os
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data.dataset import load_prepared
from reelgraph.data.engine import check_java, open_engine
from reelgraph.data.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.errors import ConfigError, SetupError

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
"""


def compare(one: Path, other: Path) -> None:
    for name in FILES:
        first, second = pq.read_table(one / f"{name}.parquet"), pq.read_table(other / f"{name}.parquet")
        assert first.column_names == second.column_names, name
        assert [str(kind) for kind in first.schema.types] == [str(kind) for kind in second.schema.types], name
        assert first.to_pylist() == second.to_pylist(), name
    manifests: list[dict[str, Any]] = [load_prepared(path).manifest for path in (one, other)]
    for key in manifests[0].keys() - {"created", "engine"}:
        assert manifests[0][key] == manifests[1][key], key


def both(tmp_path: Path, source: Path, test: Path | None = None, **config: Any) -> Path:
    for engine in ("duckdb", "local[2]"):
        settings = DataConfig(engine=engine, **config)
        prepare(find(source, test=test), settings, tmp_path / re.sub(r"\W", "", engine), lambda line: None)
    compare(tmp_path / "duckdb", tmp_path / "local2")
    return tmp_path / "duckdb"


def test_ml_latest_small_is_prepared_alike(movielens: Path, tmp_path: Path) -> None:
    prepared = load_prepared(both(tmp_path, movielens / "ml-latest-small"))
    assert len(prepared.train) + len(prepared.valid) + len(prepared.test) == 100_004
    assert len(prepared.items) == 9125


@pytest.mark.parametrize("split", ["random", "time", "last", "given"])
def test_dirty_rows_are_judged_alike(tmp_path: Path, split: str) -> None:
    (tmp_path / "r.csv").write_text(DIRTY, encoding="utf-8")
    (tmp_path / "t.csv").write_text("userId,movieId,rating,timestamp\nB,2,3,9\nnew,1,1,9\nB,2,4,8\nB,9,x,8\n")
    test = tmp_path / "t.csv" if split == "given" else None
    prepared = both(tmp_path, tmp_path / "r.csv", test, split=split, valid_share=0.3, test_share=0.3)
    reasons = load_prepared(prepared).manifest["reasons"]
    assert reasons["rating is not a number"] == (3 if split == "given" else 2)
    assert reasons["rating is infinite"] == 2
    assert reasons["timestamp is not a number or date"] == 2
    times = pq.read_table(prepared / "ratings.parquet")["timestamp"].to_pylist()
    assert times.count(881250949) == 3


def test_engines_that_do_not_exist() -> None:
    for name in ("flink", "local", "local[x]", "spark:/x"):
        with pytest.raises(ConfigError, match="--engine: expected"), open_engine(name):
            pass


def test_java_is_looked_for_before_spark_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SetupError, match=r"expected Java 17 or newer, found JAVA_HOME=.* without a Java"):
        check_java("spark")
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(SetupError, match=r"expected Java 17 or newer, found .*1\.8\.0_392"):
        check_java("spark")
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(SetupError, match="found none"):
        check_java("spark")


def test_spark_keeps_its_noise_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with open_engine("local[1]") as engine:
        assert engine.spark.range(3).count() == 3
    assert capfd.readouterr().err == ""
