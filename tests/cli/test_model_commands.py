"""The commands that query, evaluate, update and report on a model."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reelgraph.recommend.recommender import open_model

Command = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("--tune", "none", "--max-steps", 9)


def test_search_prints_ids_that_other_commands_take(command: Command, model_dir: Path) -> None:
    rows = json.loads(command("search", model_dir, "the", "movie", 5, "--json").stdout)
    assert rows[0]["title"] == "Movie, The 5"
    screen = command("search", model_dir, "movie", "-k", 3).stdout
    assert screen.count("Movie") == 4, "the table's title and three movies"
    by_title = command("similar", model_dir, "--movie", "movie the 5", "--json").stdout
    assert by_title == command("similar", model_dir, "--movie", 50, "--json").stdout
    refused = command("explain", model_dir, "--user", 1, "--movie", "movie")
    assert refused.returncode == 2
    assert "expected one movie, found" in refused.stderr


def test_similar_movies_and_users(command: Command, model_dir: Path) -> None:
    model = open_model(model_dir)
    rows = json.loads(command("similar", model_dir, "--movie", 50, "-k", 4, "--json").stdout)
    assert [(row["movie_id"], row["similarity"]) for row in rows] == [
        (movie.movie_id, pytest.approx(value)) for movie, value in model.similar("50", 4)
    ]
    screen = command("similar", model_dir, "--movie", 50, "-k", 4).stdout
    assert "Movies similar to Movie, The 5 (1974)" in screen
    assert rows[0]["title"] in screen
    people = json.loads(command("similar", model_dir, "--user", 3, "-k", 4, "--json").stdout)
    assert [row["user_id"] for row in people] == [user for user, _ in model.similar_users("3", 4)]
    assert "3" not in [row["user_id"] for row in people]
    assert people[0]["user_id"] in command("similar", model_dir, "--user", 3).stdout


def test_an_explanation_as_text_json_and_picture(command: Command, model_dir: Path, tmp_path: Path) -> None:
    done = command("explain", model_dir, "--user", 9, "--movie", 20, "--plot", tmp_path / "g.svg")
    assert done.returncode == 0, done.stderr
    found = open_model(model_dir).explain("9", movie="20")
    top = found.grounds().supporting[0]
    assert f"because {top}: {top.contribution:+.2f}" in done.stdout
    assert f"{found.prediction:.2f} stars predicted" in done.stdout
    assert (tmp_path / "g.svg").read_text().startswith("<?xml")
    rows = json.loads(command("explain", model_dir, "--user", 9, "--movie", 20, "--json").stdout)
    total = sum(rows[name] for name in ("mean", "user", "movie", "free", "side"))
    total += sum(reason["contribution"] for reason in rows["because"])
    assert total == pytest.approx(rows["prediction"], abs=1e-5)
    (tmp_path / "my.csv").write_text("movieId,rating\n10,5\n50,1\n")
    visitor = command("explain", model_dir, "--ratings", tmp_path / "my.csv", "--movie", 20).stdout
    assert visitor.splitlines() == open_model(model_dir).explain(ratings={"10": 5, "50": 1}, movie="20").text()
    (tmp_path / "none.csv").write_text("movieId,rating\n")
    assert "because" not in command("explain", model_dir, "--ratings", tmp_path / "none.csv", "--movie", 20).stdout


def test_the_options_of_a_list(command: Command, model_dir: Path, tmp_path: Path) -> None:
    model = open_model(model_dir)
    (tmp_path / "allow.csv").write_text("movieId\n" + "".join(f"{10 * n}\n" for n in range(1, 41)))
    (tmp_path / "deny.csv").write_text("movieId\n10\n20\n30\n")
    wishes = ["--order", "rank", "--diversity", "0.4", "--popularity-penalty", "0.2", "--min-ratings", "10",
              "--allow", tmp_path / "allow.csv", "--deny", tmp_path / "deny.csv"]  # fmt: skip
    rows = json.loads(command("recommend", model_dir, "--user", 4, *wishes, "--json").stdout)
    expected = model.recommend(
        "4", order="rank", diversity=0.4, popularity_penalty=0.2, min_ratings=10,
        allow=[str(10 * n) for n in range(1, 41)], deny=["10", "20", "30"],
    )  # fmt: skip
    assert [row["movie_id"] for row in rows] == [line.movie.movie_id for line in expected]
    (tmp_path / "none.csv").write_text("movieId,rating\n")
    start = json.loads(command("recommend", model_dir, "--ratings", tmp_path / "none.csv", "--json").stdout)
    assert [row["movie_id"] for row in start] == [line.movie.movie_id for line in model.recommend(ratings={})]


def test_a_list_of_a_watchlist(command: Command, model_dir: Path, tmp_path: Path) -> None:
    head, export = "Date,Name,Year,Letterboxd URI", tmp_path / "letterboxd.zip"
    ratings = f'{head},Rating\n2024-01-01,"Movie, The 5",1974,u,4.5\n'
    with zipfile.ZipFile(export, "w") as archive:
        archive.writestr("ratings.csv", ratings)
        wanted = ('2024-01-01,"Movie, The 6",1975,u', '2024-01-01,"Movie, The 9",1978,u')
        archive.writestr("watchlist.csv", "\n".join([head, *wanted, ""]))
    done = command("recommend", model_dir, "--ratings", export, "--only-watchlist", "--json")
    assert done.returncode == 0, done.stderr
    assert {row["movie_id"] for row in json.loads(done.stdout)} == {"60", "90"}
    (tmp_path / "ratings.csv").write_text(ratings)
    refused = command("recommend", model_dir, "--ratings", tmp_path / "ratings.csv", "--only-watchlist")
    assert refused.returncode == 2
    assert "--only-watchlist: expected a watchlist" in refused.stderr


def test_one_list_for_several_people(command: Command, model_dir: Path, tmp_path: Path) -> None:
    model = open_model(model_dir)
    (tmp_path / "ann.csv").write_text("movieId,rating\n10,5\n450,1\n")
    group = ("recommend", model_dir, "--together", f"4,{tmp_path / 'ann.csv'}", "--together", 9, "-k", 5)
    expected = model.recommend_together({"4": "4", "ann": {"10": 5.0, "450": 1.0}, "9": "9"}, strategy="average", k=5)
    rows = json.loads(command(*group, "--strategy", "average", "--json").stdout)
    assert [row["movie_id"] for row in rows] == [line.movie.movie_id for line in expected]
    assert [member["name"] for member in rows[0]["members"]] == ["4", "ann", "9"]
    shown = command(*group)
    assert "For 4, ann, 9" in shown.stdout
    assert "Good for everyone" in shown.stderr
    refused = command("recommend", model_dir, "--together", "4,nobody")
    assert refused.returncode == 2
    assert "a user of the training data or a file with ratings, found 'nobody'" in refused.stderr
    assert command("recommend", model_dir, "--together", "4", "--user", "4").returncode == 2


def test_questions_to_a_new_user(command: Command, model_dir: Path, tmp_path: Path) -> None:
    model = open_model(model_dir)
    rows = json.loads(command("ask", model_dir, "-k", 4, "--json").stdout)
    assert [row["movie_id"] for row in rows] == [movie.movie_id for movie in model.ask(k=4)]
    (tmp_path / "own.csv").write_text(f"movieId,rating\n{rows[0]['movie_id']},4\n")
    after = json.loads(command("ask", model_dir, "--ratings", tmp_path / "own.csv", "--json").stdout)
    assert rows[0]["movie_id"] not in [row["movie_id"] for row in after]
    assert "Movies to rate next" in command("ask", model_dir).stdout


def test_evaluate_measures_lists_and_explanations(command: Command, model_dir: Path, tables: Path) -> None:
    report = json.loads(command("evaluate", model_dir, tables / "ratings.csv", "--json").stdout)
    assert set(report["lists"]) >= {"order rank", "order stars", "order best", "diversity 0.3"}
    assert report["deletion"]["prediction"]["top"] > report["deletion"]["prediction"]["random"]
    screen = command("evaluate", model_dir, tables / "ratings.csv").stdout
    for words in ("Lists", "order best", "(default)", "share a genre", "Similar movies"):
        assert words in screen


def test_training_prints_ranking_measures(command: Command, tables: Path, tmp_path: Path) -> None:
    done = command("train", tables, *QUICK, "--rank-max-steps", 10, "--out", tmp_path / "m")
    assert "order best" in done.stdout
    alone = command("train", tables, *QUICK, "--no-ranking", "--out", tmp_path / "n")
    assert "order rank" not in alone.stdout
    refused = command("recommend", tmp_path / "n", "--user", 1, "--order", "rank")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_report_is_a_page(command: Command, model_dir: Path, tables: Path, tmp_path: Path) -> None:
    done = command("report", model_dir, "--out", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    checksum = hashlib.sha256((model_dir / "manifest.json").read_bytes()).hexdigest()
    assert checksum in (tmp_path / "r.html").read_text()
    done = command("report", model_dir, "--no-cold", "--test", tables / "ratings.csv", "--out", tmp_path / "t.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t.html").read_text() != (tmp_path / "r.html").read_text()


def test_a_report_on_new_visitors(command: Command, tables: Path, tmp_path: Path) -> None:
    assert command("train", tables, *QUICK, "--rank-max-steps", 10, "--out", tmp_path / "m").returncode == 0
    done = command("report", tmp_path / "m", "--cold", "--out", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    assert '"cold":{"users":' in page
    assert '"random_ndcg":' in page


def test_a_malformed_row_costs_that_row(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("userId,movieId,rating\n1,10,4\n1,20\n2,30,5\n3,10,-1\n")
    (tmp_path / "deny.csv").write_text("movieId,note\n10,a\n20,b,c\n")
    pairs = "(row 2; first: 1,20)"
    for arguments, refused, left in (
        (("evaluate", model_dir, "t.csv", "--missing=-1", "--json"), "refused 1 of 4 rows: malformed", '"pairs": 2'),
        (("predict", model_dir, "t.csv", "--out", "o.csv"), pairs, ""),
        (("update", model_dir, "t.csv", "--missing=-1", "--steps", 0, "--out", "u"), pairs, " 0 steps"),
        (("recommend", model_dir, "--user", 1, "--deny", "deny.csv"), "deny.csv: refused 1 of 2 rows", ""),
        (("recommend", model_dir, "--ratings", "t.csv", "--missing=-1"), "t.csv: refused 1 of 4 rows", ""),
    ):
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert refused in done.stderr
        assert left in done.stdout
        assert command(*arguments, "--strict", cwd=tmp_path).returncode == 2
    assert [line.rpartition(",")[0] for line in (tmp_path / "o.csv").read_text().splitlines()] == [
        "userId,movieId,rating", "1,10,4", "2,30,5", "3,10,-1",
    ]  # fmt: skip


def test_test_ratings_in_a_matrix(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("userId,10,20,30\n1,4,,0\n2,,3,5\n")
    done = command("evaluate", model_dir, "m.csv", "--matrix", "--missing", 0, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == 3
    command("predict", model_dir, "m.csv", "--matrix", "--out", "o.csv", cwd=tmp_path)
    assert [line.rpartition(",")[0] for line in (tmp_path / "o.csv").read_text().splitlines()] == [
        "userId,movieId,rating", "1,10,4", "1,30,0", "2,20,3", "2,30,5",
    ]  # fmt: skip


def test_update_and_forget(command: Command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(
        "userId,movieId,rating,timestamp\n1,10,5,2000000\nx,10,5,2000000\nx,99,2,2000050\n"
    )
    (tmp_path / "items.csv").write_text("movieId,title,genres\n99,New One (2001),War\n")
    before = {file.name: file.read_bytes() for file in model_dir.iterdir()}
    done = command(
        "update", model_dir, "new.csv", "--items", "items.csv", "--out", "m2", "--compare", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    change = json.loads(done.stdout)
    assert (change["added"] + change["replaced"], change["new_users"], change["new_movies"]) == (3, 1, 1)
    assert 0 <= change["distance"]["prediction"] < 1
    assert {file.name: file.read_bytes() for file in model_dir.iterdir()} == before, "the old model is unchanged"
    model = open_model(tmp_path / "m2")
    assert model.catalogue.movie(model.items.index("99")).title == "New One"
    assert {model.items.id(int(item)) for item in model.predictor.seen(model.users.index("x"))[0]} == {"10", "99"}
    told = command("update", model_dir, "new.csv", "--out", "m3", "--steps", 0, cwd=tmp_path).stdout
    assert "1 new users and 1 new movies, 0 steps" in told
    assert "--compare" in told
    gone = command("forget", "m2", "--user", "x", cwd=tmp_path)
    assert gone.returncode == 0, gone.stderr
    assert "user x and 2 ratings" in gone.stdout
    after = open_model(tmp_path / "m2")
    assert "x" not in after.users.ids.to_pylist()
    assert np.isfinite(after.predict([("1", "99")])).all()
    again = command("forget", "m2", "--user", "x", cwd=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("similar", "M"), "expected one of --movie and --user, found none"),
        (("similar", "M", "--movie", 10, "--user", 1), "found both"),
        (("similar", "M", "--movie", "x"), "movie 'x'"),
        (("similar", "M", "--movie", 10, "-k", 0), "k: expected 1 to 80"),
        (("similar", "M", "--user", 1, "-k", 0), "k: expected 1 or more"),
        (("explain", "M", "--movie", 10), "expected one of --user and --ratings, found none"),
        (("explain", "M", "--movie", 10, "--user", 1, "--plot", "g.gif"), "ends in .svg or .png"),
        (("explain", "M", "--movie", 10, "--user", 1, "--plot", "no/where/g.svg"), "no/where"),
        (("recommend", "M", "--user", 1, "--diversity", "2"), "diversity: expected 0 to 1, found 2.0"),
        (("recommend", "M", "--user", 1, "--popularity-penalty", "nan"), "popularity penalty: expected 0 or more"),
        (("recommend", "M", "--user", 1, "--order", "worst"), "'worst' is not one of"),
        (("recommend", "M", "--user", 1, "--deny", "nothing.csv"), "nothing.csv"),
        (("update", "M", "nothing.csv", "--out", "m2"), "nothing.csv"),
        (("update", "M", "bad.csv", "--out", "m2"), "rating is outside the scale 1-5 of the model"),
        (("update", "M", "good.csv", "--items", "nothing.csv", "--out", "m2"), "nothing.csv"),
        (("update", "M", "good.csv", "--out", "good.csv"), "good.csv"),
        (("forget", "M", "--user", "nobody"), "nobody"),
        (("report", "M", "--test", "nothing.csv", "--out", "r.html"), "nothing.csv"),
        (("report", "M", "--out", "no/where/r.html"), "no/where"),
    ],
)
def test_invalid_arguments_are_one_line(
    command: Command, model_dir: Path, tmp_path: Path, arguments: tuple[object, ...], says: str
) -> None:
    (tmp_path / "bad.csv").write_text("userId,movieId,rating\n1,10,9\n")
    (tmp_path / "good.csv").write_text("userId,movieId,rating\n1,10,3\n")
    shutil.copytree(model_dir, tmp_path / "model")
    there = sorted(tmp_path.iterdir())
    done = command(*("model" if argument == "M" else argument for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
    assert sorted(tmp_path.iterdir()) == there, "no partial files are left"
