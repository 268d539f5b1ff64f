"""Bad input ends in exit code 2 and one line, and leaves no files behind."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
HEADER = "userId,movieId,rating\n"


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    """The error line; notes on the data may come before it."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def parquet(path: Path) -> bytes:
    table = pa.table({"userId": list(range(999)), "movieId": list(range(999)), "rating": [1.0, 2.0, 3.0] * 333})
    pq.write_table(table, path)
    return path.read_bytes()


def rows(*cells: tuple[object, object, object]) -> str:
    return HEADER + "".join(f"{user},{movie},{rating}\n" for user, movie, rating in cells)


FILES: dict[str, tuple[str | bytes, str]] = {
    "empty.csv": ("", "found an empty file"),
    "blank.csv": ("\n\n \n", "found blank lines"),
    "header.csv": (HEADER, "expected rows below the header, found none"),
    "column.csv": ("userId,film,stars\n1,2,3\n", "expected a column movieId, found userId, film, stars"),
    "one_column.csv": ("userId\n1\n", "expected cells separated by"),
    "text.csv": (rows((1, 2, "good"), (2, 3, "bad")), "rating is not a number in 2 (first in row 1)"),
    "nan.csv": (rows((1, 2, "NaN"), (2, 3, "nan")), "rating is NaN in 2"),
    "missing.csv": (rows((1, 2, ""), (2, 3, "NA")), "rating is missing in 2"),
    "infinite.csv": (rows((1, 2, "inf"), (2, 3, "-inf"), (2, 4, "1e999")), "rating is infinite in 3"),
    "one_user.csv": (rows((1, 2, 3), (1, 3, 4)), "expected at least two users, found one"),
    "one_movie.csv": (rows((1, 2, 3), (2, 2, 4)), "expected at least two movies, found one"),
    "constant.csv": (rows((1, 2, 3), (2, 3, 3), (1, 3, 3)), "found 3 in every row"),
    "single.csv": (rows((1, 2, 3)), "expected at least two ratings, found one"),
    "zero.parquet": ("", "found an empty file"),
    "binary.csv": (bytes(range(256)) * 9, "found binary data"),
    "renamed.csv": (b"PAR1" + bytes(99), "found a Parquet file"),
}


# `prepare` answers in half a second, `train` only after it has imported torch; a few cases show that both say the same.
EVERY = [("prepare", name) for name in FILES] + [("train", name) for name in ("header.csv", "nan.csv", "single.csv")]


@pytest.mark.parametrize(("verb", "name"), EVERY)
def test_unusable_ratings(command: Command, tmp_path: Path, verb: str, name: str) -> None:
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    line = line_of(command(verb, name, "--out", "model", cwd=tmp_path))
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == [name], "no files are left behind"


def test_a_truncated_parquet(command: Command, tmp_path: Path) -> None:
    whole = parquet(tmp_path / "r.parquet")
    for length in (len(whole) // 2, len(whole) - 1, 10):
        (tmp_path / "r.parquet").write_bytes(whole[:length])
        line = line_of(command("prepare", "r.parquet", "--out", "model", cwd=tmp_path))
        assert "r.parquet: expected a Parquet file, found a damaged one" in line
        assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]


@pytest.mark.parametrize("verb", ["train", "prepare"])
def test_paths_without_ratings(command: Command, tmp_path: Path, verb: str) -> None:
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("nowhere.csv", "nowhere.csv: expected a file, found none"),
        ("folder", "folder: expected a MovieLens folder with one of ratings.csv"),
    ):
        assert message in line_of(command(verb, name, "--out", "m", cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "user=who"), "expected a column of"),
        (("--columns", "person=userId"), "expected roles user, item, rating, timestamp, found 'person'"),
        (("--columns", "userId"), "expected user=NAME"),
        (("--scale", "five"), "expected a scale such as 1-5"),
        (("--scale", "5-1"), "lower end first"),
        (("--dim", "0"), "setting dim: input should be greater than or equal to 1, found 0"),
        (("--dim", "many"), "'many' is not a valid integer"),
        (("--engine", "flink"), "expected duckdb, spark"),
        (("--split", "given"), "expected test ratings, found none"),
        (("--test", "nowhere.csv"), "nowhere.csv: expected a file, found none"),
        (("--items", "nowhere.csv"), "nowhere.csv: expected a file, found none"),
        (("--no-such-option",), "No such option"),
        (("--config", "nowhere.toml"), "expected a TOML file"),
    ],
)
def test_invalid_options(
    command: Command, tables: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    verb = "train" if options[0] == "--dim" else "prepare"
    line = line_of(command(verb, tables / "ratings.csv", *options, "--out", "model", cwd=tmp_path))
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_with_an_unknown_setting(command: Command, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[train]\ndims = 3\n")
    (tmp_path / "b.toml").write_text("[fit]\ndim = 3\n")
    line = line_of(command("train", tables, "--config", "a.toml", "--out", "m", cwd=tmp_path))
    assert "setting dims" in line
    assert "dim," in line, "known settings are listed"
    assert "expected tables [data] and [train], found [fit]" in line_of(
        command("train", tables, "--config", "b.toml", "--out", "m", cwd=tmp_path)
    )


def test_strict_stops_at_a_refused_row(command: Command, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text((tables / "ratings.csv").read_text() + "1,10,oops,1\n")
    line = line_of(command("prepare", "r.csv", "--strict", "--out", "m", cwd=tmp_path))
    assert "expected no row to be refused (--strict), found 1" in line
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]


def test_outputs_that_cannot_be_written(command: Command, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for name, message in (
        ("mine", "found other files there"),
        ("mine/thesis.txt", "expected a directory, found a file"),
        ("mine/thesis.txt/model", "to be a directory, found a file"),
        ("/proc/model", "cannot be written"),
    ):
        assert message in line_of(command("train", tables, "--out", name, cwd=tmp_path))
        assert message in line_of(command("prepare", tables, "--out", name, cwd=tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.parametrize("verb", ["train", "prepare"])
def test_a_full_disk(command: Command, tables: Path, tmp_path: Path, verb: str) -> None:
    # A file size limit makes a write fail midway, as a full disk does.
    line = line_of(command(verb, tables, "--out", tmp_path / "out", limit=8192))
    assert "cannot be written" in line
    assert list(tmp_path.iterdir()) == []


def test_incomplete_models(command: Command, model_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_dir, tmp_path / "copy"))
    manifest = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(manifest.replace('"version": 1', '"version": 2', 1))
    assert "expected format version 1, found 2" in line_of(command("recommend", copy, "--user", 1))
    (copy / "manifest.json").write_text(manifest)
    weights = (copy / "weights.safetensors").read_bytes()
    (copy / "weights.safetensors").write_bytes(weights[:100])
    assert f"weights.safetensors: expected {len(weights):,} bytes of SHA-256 " in line_of(
        command("recommend", copy, "--user", 1)
    )
    (copy / "weights.safetensors").unlink()
    for arguments in (
        ("recommend", copy, "--user", 1),
        ("predict", copy, "p.csv", "--out", "o"),
        ("evaluate", copy, "t.csv"),
    ):
        assert "weights.safetensors: expected a file of the model, found none" in line_of(command(*arguments))
    assert "expected a model directory with manifest.json, found none" in line_of(
        command("recommend", tmp_path, "--user", 1)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--user", "61"), "similar ids are 6"),
        (("--user", "nobody"), "expected one of the 60 user ids"),
        (("--user", "1", "-k", "0"), "k: expected 1 to 80 (the catalogue), found 0"),
        (("--user", "1", "-k", "81"), "k: expected 1 to 80 (the catalogue), found 81"),
        (("--user", "1", "--genre", "Dramma"), "try Drama"),
        (("--user", "1", "--year", "nineties"), "expected a year or a range"),
        ((), "expected one of --user, --ratings, --together and --all"),
        (("--user", "1", "--all"), "expected one of --user, --ratings, --together and --all"),
        (("--all",), "expected --out FILE.parquet, found none"),
        (("--user", "1", "--only-watchlist"), "--only-watchlist: expected --ratings with an export"),
        (("--ratings", "nowhere.csv"), "nowhere.csv: expected a file, found none"),
        (("--user", "1", "--out", "no/such/folder/list.json"), "cannot be written"),
    ],
)
def test_impossible_lists(
    command: Command, model_dir: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    assert message in line_of(command("recommend", model_dir, *options, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("movieId,rating\n101,4\n", "my.csv: expected movies of the model, such as"),
        ("movieId,rating\n10,9\n", "rating of movie 10: expected 1 to 5, found 9"),
        ("movieId,rating\n10,good\n", "found 1 of 1 refused, the first in row 1: rating is not a number"),
        ("movieId,rating\n10,4\n20\n30\n", "found 2 of 3 refused, the first in row 2: malformed row: expected 2 cells"),
        ("movieId\n10\n", "expected cells separated by"),
    ],
)
def test_unreadable_visitor_ratings(
    command: Command, model_dir: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "my.csv").write_text(content)
    assert message in line_of(command("recommend", model_dir, "--ratings", tmp_path / "my.csv"))


def test_unreadable_pairs_and_test_ratings(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("userId,movieId\n1,\n")
    line = line_of(command("predict", model_dir, "p.csv", "--out", "out.csv", cwd=tmp_path))
    assert "found 1 of 1 refused, the first in row 1: movie id is missing" in line
    (tmp_path / "t.csv").write_text("userId,movieId,rating\n1,10,inf\n")
    assert "row 1: rating is infinite" in line_of(command("evaluate", model_dir, "t.csv", cwd=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "t.csv"]
