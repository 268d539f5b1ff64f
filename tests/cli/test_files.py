"""Files that the commands read and write: every input format, atomic outputs."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph.recommend.recommender import open_model

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_empty_lists_are_a_file_with_all_columns(command: Command, model_dir: Path, tmp_path: Path) -> None:
    done = command("recommend", model_dir, "--all", "--year", "1800", "--out", "l.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lists = pq.read_table(tmp_path / "l.parquet")
    assert (lists.num_rows, lists.column_names) == (0, ["userId", "movieId", "rank", "score", "prediction"])


def test_filters_equal_those_of_the_python_api(command: Command, model_dir: Path) -> None:
    model = open_model(model_dir)
    seen = {model.items.id(int(item)) for item in model.predictor.seen(model.users.index("8"))[0]}
    expected = model.recommend("8", k=12, genre="Comedy", year="1980-1999", include_seen=True)
    options = ["-k", 12, "--genre", "comedy", "--year", "1980-1999", "--include-seen", "--json"]
    rows = json.loads(command("recommend", model_dir, "--user", 8, *options).stdout)
    assert rows == [json.loads(json.dumps(line.to_json(rank))) for rank, line in enumerate(expected, 1)]
    assert all("Comedy" in row["genres"] and 1980 <= row["year"] <= 1999 for row in rows)
    assert {row["movie_id"] for row in rows} & seen
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)


@pytest.mark.parametrize("form", ["csv", "parquet", "named"])
def test_pairs_in_every_format(command: Command, model_dir: Path, tmp_path: Path, form: str) -> None:
    users, movies = [3, 61, 3, 60], [20, 10, 20, 810]
    options: list[str] = []
    if form == "parquet":
        pq.write_table(pa.table({"movieId": movies, "extra": ["a", "b", "c", "d"], "userId": users}), tmp_path / "p.pq")
    else:
        names = "who,what\n" if form == "named" else "userId,movieId\n"
        lines = [f"{user},{movie}\n" for user, movie in zip(users, movies, strict=True)]
        (tmp_path / "p.csv").write_text(names + "".join(lines))
        options = ["--columns", "user=who,item=what"] if form == "named" else []
    file = "p.pq" if form == "parquet" else "p.csv"
    done = command("predict", model_dir, file, *options, "--out", "out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    user, movie = ("who", "what") if form == "named" else ("userId", "movieId")
    assert [(int(row[user]), int(row[movie])) for row in rows] == list(zip(users, movies, strict=True))
    assert form != "parquet" or [row["extra"] for row in rows] == ["a", "b", "c", "d"]
    expected = open_model(model_dir).predict(zip(users, movies, strict=True))
    assert [float(row["prediction"]) for row in rows] == pytest.approx(expected.tolist(), abs=1e-4)


def test_evaluate_equals_the_errors_of_predict(command: Command, model_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(1, 70)), 10 * int(rng.integers(1, 90)), int(rng.integers(1, 6))) for _ in range(300)]
    lines = [f"{user},{movie},{stars}\n" for user, movie, stars in rows]
    (tmp_path / "t.csv").write_text("userId,movieId,rating\n" + "".join(lines))
    assert command("predict", model_dir, "t.csv", "--out", "out.csv", cwd=tmp_path).returncode == 0
    with (tmp_path / "out.csv").open(newline="") as opened:
        errors = [float(row["prediction"]) - float(row["rating"]) for row in csv.DictReader(opened)]
    report = json.loads(command("evaluate", model_dir, "t.csv", "--json", cwd=tmp_path).stdout)
    expected = {
        "pairs": 300,
        "rmse": pytest.approx((sum(error**2 for error in errors) / 300) ** 0.5, abs=1e-4),
        "mae": pytest.approx(sum(map(abs, errors)) / 300, abs=1e-4),
        "unknown_users": len({user for user, _, _ in rows if user > 60}),
        "unknown_movies": len({movie for _, movie, _ in rows if movie > 800}),
        "unknown_pairs": sum(user > 60 or movie > 800 for user, movie, _ in rows),
    }
    assert {name: report[name] for name in expected} == expected
    screen = command("evaluate", model_dir, "t.csv", cwd=tmp_path).stdout
    assert f"{report['rmse']:.4f}" in screen
    assert f"{report['unknown_pairs']}" in screen


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("recommend", "--all", "-k", "80", "--include-seen"), "lists.parquet"),
        (("recommend", "--user", "1", "-k", "80", "--include-seen"), "list.json"),
        (("predict", "pairs.csv"), "predictions.csv"),
    ],
)
def test_a_full_disk_keeps_the_old_file(
    command: Command, model_dir: Path, tmp_path: Path, words: tuple[str, ...], name: str
) -> None:
    (tmp_path / "pairs.csv").write_text("userId,movieId\n" + "1,10\n" * 2000)
    (tmp_path / name).write_text("the older one")
    # A file size limit of 1 KiB makes a write fail midway, as a full disk does.
    done = command(words[0], model_dir, *words[1:], "--out", name, cwd=tmp_path, limit=1024)
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: {name}: cannot be written (")
    assert "File too large" in line
    assert (tmp_path / name).read_text() == "the older one"
    assert sorted(os.listdir(tmp_path)) == sorted(["pairs.csv", name])  # noqa: PTH208 (names are what is compared)


def test_an_output_may_replace_its_own_input(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("userId,movieId\n1,10\n2,20\n")
    assert command("predict", model_dir, "p.csv", "--out", "p.csv", cwd=tmp_path).returncode == 0
    once = (tmp_path / "p.csv").read_text()
    assert once.splitlines()[0] == "userId,movieId,prediction"
    assert command("predict", model_dir, "p.csv", "--out", "p.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "p.csv").read_text() == once, "an old prediction column is replaced"
