"""Names that SQL gives a meaning to, columns that differ by case, scales and times that no rule foresees."""

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reelgraph.config import DataConfig
from reelgraph.data import sources
from reelgraph.data.dataset import load_prepared
from reelgraph.data.prepare.prepare import prepare
from reelgraph.errors import DataError

PAIRS = [(user, movie) for user in range(1, 6) for movie in range(1, 6)]


def write(folder: Path, scale: int = 5, time: str = "1000") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"{user},{movie},{(user * movie) % scale + 1},{time}\n" for user, movie in PAIRS]
    (folder / "ratings.csv").write_text("userId,movieId,rating,date\n" + "".join(rows), encoding="utf-8")
    return folder / "ratings.csv"


def test_side_columns_may_have_any_name(tmp_path: Path) -> None:
    names = ["movieId", "Title", "title", "a.b", "c`d", "e f", "g'h", "item_index2", "row", "reason"]
    cells = ["3", *(f"cell {place}" for place in range(1, len(names)))]
    (tmp_path / "items.csv").write_text(f"{','.join(names)}\n{','.join(cells)}\n", encoding="utf-8")
    source = sources.find(write(tmp_path), items=tmp_path / "items.csv")
    out = prepare(source, DataConfig(), tmp_path / "prepared", lambda line: None)
    rows = {row["movieId"]: row for row in pq.read_table(out / "items.parquet").to_pylist()}
    assert {name: rows["3"][name] for name in names} == dict(zip(names, cells, strict=True))
    assert all(rows["4"][name] is None for name in names[1:])


def test_an_output_path_with_a_quote_is_written(tmp_path: Path) -> None:
    file = write(tmp_path / "it's ours")
    out = prepare(sources.find(file), DataConfig(), tmp_path / "it's ours" / "out'put", lambda line: None)
    assert len(load_prepared(out).train) + len(load_prepared(out).valid) + len(load_prepared(out).test) == len(PAIRS)


def test_the_temporary_directory_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "it's [a] *"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    out = prepare(sources.find(write(tmp_path)), DataConfig(), tmp_path / "out", lambda line: None)
    assert load_prepared(out).manifest["counts"]["ratings"] == len(PAIRS)
    assert list(odd.iterdir()) == []


def test_a_barely_used_scale_is_inferred_from_the_ratings(tmp_path: Path) -> None:
    out = prepare(sources.find(write(tmp_path, scale=20)), DataConfig(), tmp_path / "prepared", lambda line: None)
    highest = max((user * movie) % 20 + 1 for user, movie in PAIRS)
    assert load_prepared(out).scale == (1, highest)


def test_time_splits_report_unreadable_times(tmp_path: Path) -> None:
    source = sources.find(write(tmp_path, time="5/6/2012"))
    with pytest.raises(DataError, match=r"timestamp is not a number or date in 25 .*write times as seconds since 1970"):
        prepare(source, DataConfig(split="last"), tmp_path / "prepared", lambda line: None)


def test_a_random_split_keeps_ratings_without_their_unreadable_times(tmp_path: Path) -> None:
    source, lines = sources.find(write(tmp_path, time="5/6/2012")), list[str]()
    data = load_prepared(prepare(source, DataConfig(), tmp_path / "prepared", lines.append))
    assert data.manifest["counts"]["ratings"] == len(PAIRS)
    assert data.train.timestamp is None
    assert any("25 rows" in line and "5/6/2012" in line for line in lines)
    with pytest.raises(DataError, match=r"5/6/2012.*--strict"):
        prepare(source, DataConfig(strict=True), tmp_path / "strict", lambda line: None)
