"""The commands as a user runs them."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from reelgraph.recommend.recommender import open_model
from tests.support.clusters import until

Command = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--max-steps", 9, "--tune", "none", "--rank-max-steps", 10)


def test_train_prints_data_and_errors(command: Command, tables: Path, tmp_path: Path) -> None:
    done = command("train", tables, *QUICK, "--out", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    for word in (
        "users",
        "movies",
        "ratings",
        "density",
        "validation RMSE",
        "test MAE",
        "mean rating",
        "popularity",
        "damped biases",
        "this model",
        " s;",
    ):
        assert word in done.stdout, word
    for word in ("comma-separated", "user = userId", "rating scale: 1 to 5, whole stars (inferred)", "step"):
        assert word in done.stderr, word
    assert "\x1b" not in done.stdout + done.stderr, "no terminal codes in a pipe"


def test_train_prints_the_manifest_as_json(command: Command, tables: Path, tmp_path: Path) -> None:
    short = ("--max-steps", 20, "--rank-max-steps", 20, "--tune", "none")
    done = command("train", tables, *short, "--out", tmp_path / "m", "--json")
    manifest, kept = json.loads(done.stdout), json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert manifest["metrics"] == kept["metrics"]
    with (tmp_path / "m" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["step"] for row in history if row["phase"] == "fit"] == ["10", "20"]
    ranks = [float(row["valid_ndcg"]) for row in history if row["phase"] == "rank fit"]
    assert 1 - max(ranks) == pytest.approx(manifest["ranking"]["tuning"][0]["valid_error"])


def test_options_override_the_settings_of_a_file(command: Command, tables: Path, tmp_path: Path) -> None:
    quick = 'tune = "none"\nranking = false'
    (tmp_path / "s.toml").write_text(f'[data]\nsplit = "last"\n[train]\ndim = 5\nmax_steps = 7\n{quick}\n')
    done = command("train", tables, "--config", "s.toml", "--dim", 3, "--out", "m", "--json", cwd=tmp_path)
    manifest = json.loads(done.stdout)
    assert (manifest["config"]["dim"], manifest["config"]["max_steps"]) == (3, 7)
    assert manifest["data"]["split"]["kind"] == "last"
    assert manifest["data"]["counts"]["test"] == 60


def test_unknown_test_users_are_counted(command: Command, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("userId,movieId,rating\nx,10,4\ny,20,2\ny,30,1\n")
    options = ["--test", "t.csv", *QUICK, "--no-use-all"]
    done = command("train", tables / "ratings.csv", *options, "--out", "m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test users without training ratings" in done.stdout
    report = json.loads(command("evaluate", "m", "t.csv", "--json", cwd=tmp_path).stdout)
    assert (report["pairs"], report["unknown_users"], report["unknown_pairs"]) == (3, 2, 3)


def test_refused_rows_are_kept_with_the_model(command: Command, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text((tables / "ratings.csv").read_text() + "1,10,oops,1\n,20,3,1\n")
    done = command("train", "r.csv", *QUICK, "--out", "m", cwd=tmp_path)
    assert "refused 1 row: rating is not a number (first r.csv row" in done.stderr
    rejects = pq.read_table(tmp_path / "m" / "rejects.parquet").to_pylist()
    assert {(row["rating"], row["reason"]) for row in rejects} == {
        ("oops", "rating is not a number"), ("3", "user id is missing")
    }  # fmt: skip


def test_train_and_evaluate_give_the_same_test_errors(command: Command, tables: Path, tmp_path: Path) -> None:
    rows = (tables / "ratings.csv").read_text().splitlines(keepends=True)
    (tmp_path / "train.csv").write_text("".join(row for place, row in enumerate(rows) if place % 5))
    (tmp_path / "train.csv").write_text(rows[0] + (tmp_path / "train.csv").read_text())
    (tmp_path / "test.csv").write_text(rows[0] + "".join(rows[place] for place in range(5, len(rows), 5)))
    options = ["--test", "test.csv", *QUICK, "--no-use-all"]
    done = command("train", "train.csv", *options, "--out", "m", "--json", cwd=tmp_path)
    trained = json.loads(done.stdout)["metrics"]["test"]["model"]
    judged = json.loads(command("evaluate", "m", "test.csv", "--json", cwd=tmp_path).stdout)
    assert judged["rmse"] == pytest.approx(trained["rmse"], abs=1e-6)
    assert judged["mae"] == pytest.approx(trained["mae"], abs=1e-6)
    assert "RMSE" in command("evaluate", "m", "test.csv", cwd=tmp_path).stdout


def test_predict_adds_a_column_and_keeps_the_rest(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('note,userId,movieId\n"a, b",3,20\nc,nobody,10\n"a, b",3,20\nd,1,nothing\n')
    done = command("predict", model_dir, "p.csv", "--out", "out.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        found = list(csv.reader(file))
    assert [row[:3] for row in found] == [
        ["note", "userId", "movieId"],
        ["a, b", "3", "20"],
        ["c", "nobody", "10"],
        ["a, b", "3", "20"],
        ["d", "1", "nothing"],
    ]
    expected = open_model(model_dir).predict([(3, 20), ("nobody", 10), (3, 20), (1, "nothing")])
    assert [float(row[3]) for row in found[1:]] == pytest.approx(expected.tolist(), abs=1e-4)


def test_predict_without_a_header(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("3\t20\n1\t10\n")
    assert command("predict", model_dir, "p.tsv", "--out", "out.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "userId,movieId,prediction"


def test_a_list_as_table_json_and_file(command: Command, model_dir: Path, tmp_path: Path) -> None:
    expected = [line.movie.movie_id for line in open_model(model_dir).recommend("4", k=5, genre="Drama")]
    screen = command("recommend", model_dir, "--user", 4, "-k", 5, "--genre", "drama").stdout
    assert "Movie, The" in screen
    text = command("recommend", model_dir, "--user", 4, "-k", 5, "--genre", "Drama", "--json").stdout
    rows = json.loads(text)
    assert [row["movie_id"] for row in rows] == expected
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert (
        command(
            "recommend", model_dir, "--user", 4, "-k", 5, "--genre", "Drama", "--out", tmp_path / "l.json"
        ).returncode
        == 0
    )
    assert json.loads((tmp_path / "l.json").read_text()) == rows
    assert "no movie passes" in command("recommend", model_dir, "--user", 4, "--year", 1800).stdout


def test_a_list_for_a_new_user(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("movieId,rating\n10,5\n50,1\n")
    rows = json.loads(command("recommend", model_dir, "--ratings", tmp_path / "my.csv", "--json").stdout)
    expected = open_model(model_dir).recommend(ratings={"10": 5.0, "50": 1.0})
    assert [row["movie_id"] for row in rows] == [line.movie.movie_id for line in expected]
    assert not {"10", "50"} & {row["movie_id"] for row in rows}


def test_lists_for_all_users_keep_the_type_of_the_ids(command: Command, tables: Path, tmp_path: Path) -> None:
    ratings = pacsv.read_csv(tables / "ratings.csv")
    types = {"userId": pa.int32(), "movieId": pa.uint16()}
    for name, kind in types.items():
        place = ratings.column_names.index(name)
        ratings = ratings.set_column(place, name, ratings[name].cast(kind))
    pq.write_table(ratings, tmp_path / "r.parquet")
    assert command("train", "r.parquet", *QUICK, "--out", "m", cwd=tmp_path).returncode == 0
    assert command("recommend", "m", "--all", "-k", 60, "--out", "l.parquet", cwd=tmp_path).returncode == 0
    lists = pq.read_table(tmp_path / "l.parquet")
    assert lists.column_names == ["userId", "movieId", "rank", "score", "prediction"]
    assert {name: lists.schema.field(name).type for name in types} == types
    model = open_model(tmp_path / "m")
    found: dict[int, list[tuple[int, int, float]]] = {user: [] for user in range(1, 61)}
    for row in lists.to_pylist():
        found[row["userId"]].append((row["rank"], row["movieId"], row["prediction"]))
    lengths = set()
    for user, rows in found.items():
        lines = model.recommend(user, k=60)
        assert [row[:2] for row in rows] == [(rank, int(line.movie.movie_id)) for rank, line in enumerate(lines, 1)]
        assert [row[2] for row in rows] == pytest.approx([line.prediction for line in lines], abs=1e-5)
        lengths.add(len(rows))
    assert min(lengths) < max(lengths), "a list is shorter if fewer movies are left"


def test_prepare_and_train_equal_train(command: Command, tables: Path, tmp_path: Path) -> None:
    assert command("prepare", tables, "--out", "p", cwd=tmp_path).returncode == 0
    one = command("train", "p", *QUICK, "--out", "a", "--json", cwd=tmp_path)
    two = command("train", tables, *QUICK, "--out", "b", "--json", cwd=tmp_path)
    assert json.loads(one.stdout)["metrics"] == json.loads(two.stdout)["metrics"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def start_training(tables: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a training that writes a checkpoint after every step."""
    words = ["train", str(tables), *options, "--checkpoint-seconds", "0", "--out", "m"]
    start = [sys.executable, "-m", "reelgraph", *words]
    return subprocess.Popen(start, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def evaluations(folder: Path) -> int:
    """The number of evaluations in the checkpoint; 0 without a checkpoint."""
    checkpoint = folder / "m.checkpoint" / "fit.safetensors"
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="numpy") as file:
        return len(json.loads(file.metadata()["state"])["history"])


@pytest.mark.slow
def test_ctrl_c_saves_the_best_model_and_resume_continues(tables: Path, tmp_path: Path, command: Command) -> None:
    options = ["--max-steps", "150", "--patience", "100", "--min-improvement", "0", "--rank-max-steps", "20"]
    process = start_training(tables, tmp_path, *options)
    # The checkpoint, replaced atomically after every step, tells when there has been an evaluation.
    until(lambda: evaluations(tmp_path), "no evaluation")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Interrupted: saved the best model so far" in err
    assert json.loads((tmp_path / "m" / "manifest.json").read_text())["interrupted"]
    assert command("recommend", "m", "--user", 1, cwd=tmp_path).returncode == 0
    assert command("train", tables, *options, "--out", "m", "--resume", cwd=tmp_path).returncode == 0
    assert command("train", tables, *options, "--out", "whole", cwd=tmp_path).returncode == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("m", "whole")]
    assert weights[0] == weights[1]
    assert sorted(os.listdir(tmp_path)) == [".m.previous", "m", "whole"]  # noqa: PTH208 (names are what is compared)


@pytest.mark.slow
def test_ctrl_c_before_the_first_evaluation_leaves_only_a_checkpoint(tables: Path, tmp_path: Path) -> None:
    process = start_training(tables, tmp_path, "--tune", "none", "--max-steps", "100000", "--eval-every", "100000")
    until((tmp_path / "m.checkpoint" / "fit.safetensors").exists, "no checkpoint")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("reelgraph: interrupted: training was stopped before its first evaluation")
    assert "--resume" in err
    assert "Errors" not in out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["fit.safetensors", "m.checkpoint"]


def test_help_and_version(command: Command) -> None:
    text = command("--help").stdout
    for name in ("train", "prepare", "evaluate", "predict", "recommend", "doctor"):
        assert name in text
        assert command(name, "--help").returncode == 0
    assert command("--version").stdout.startswith("reelgraph, version ")


def test_a_reader_that_stops_early_is_no_error(tables: Path, model_dir: Path) -> None:
    ask = f'"{sys.executable}" -m reelgraph recommend "{model_dir}" --user 1 --json'
    line = f'{ask} | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] in {"0", "141"}


@pytest.mark.parametrize("given", [None, "7"])
def test_threads_do_not_spin_unless_the_user_sets_it(given: str | None) -> None:
    code = "import os, reelgraph; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": given} if given else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (given or "1000")
