"""The service of a model of views: likes instead of stars, lists and reasons without predictions."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import reelgraph as rg
from reelgraph.service.app import create_app
from reelgraph.service.report import export_page
from reelgraph.service.settings import Settings
from reelgraph.spark.worker import open_packed, pack
from tests.support.commands import CommandLine
from tests.support.serving import serving
from tests.support.worlds import views


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "model"
    rg.fit(rg.load(views(), implicit=True), tune="none", rank_dim=8, rank_max_steps=40).save(path)
    return path


@pytest.fixture(scope="module")
def likes(viewed: Path) -> Iterator[httpx.Client]:
    settings = Settings(database=str(viewed.parent / "ratings.sqlite"), watch=0, open=True)
    with serving(create_app(viewed, settings), settings) as client:
        yield client


def test_a_catalogue_without_a_scale(likes: httpx.Client) -> None:
    assert likes.get("/api/catalogue").json()["scale"] is None
    assert likes.get("/api/movies/m0").json()["mean"] is None


def test_lists_and_reasons_have_no_stars(likes: httpx.Client, viewed: Path) -> None:
    model, ratings = rg.open(viewed), {"m0": 1, "m2": 1}
    found = likes.post("/api/recommendations", json={"ratings": ratings, "k": 3}).json()["movies"]
    assert [movie["movie_id"] for movie in found] == [
        line.movie.movie_id for line in model.recommend(ratings=list(ratings), k=3)
    ]
    assert {(movie["prediction"], movie["interval"]) for movie in found} == {(None, None)}
    reasons = likes.post("/api/explanations", json={"ratings": ratings, "movie": "m4"}).json()
    assert (reasons["prediction"], reasons["because"], reasons["interval"]) == (None, [], None)
    score = reasons["ranking"]
    total = score["movie"] + sum(part["contribution"] for part in score["because"])
    assert score["score"] == pytest.approx(total, abs=1e-4)
    assert likes.get("/api/users/u1/recommendations").status_code == 200
    assert likes.post("/api/recommendations", json={"ratings": {}, "order": "stars"}).status_code == 422


def test_likes_are_stored_and_nothing_else(likes: httpx.Client) -> None:
    body = {"user": "a", "movie": "m0"}
    assert likes.post("/api/ratings", json=body | {"rating": 1}).status_code == 200
    refused = likes.post("/api/ratings", json=body | {"rating": 0})
    assert refused.status_code == 422
    assert "a count above 0" in refused.json()["error"]["message"]


@pytest.mark.slow
def test_kept_likes_are_exported_added_and_learned_from(
    serve: Callable[..., httpx.Client], command: CommandLine, viewed: Path, tmp_path: Path
) -> None:
    model, kept = shutil.copytree(viewed, tmp_path / "model"), tmp_path / "ratings.sqlite"
    client = serve(model, database=str(kept), rate=0)
    given = {f"visitor-{number}": {f"m{item}": 1 for item in range(number % 2, 20, 2)} for number in range(8)}
    for user, ratings in given.items():
        assert client.post("/api/ratings/batch", json={"user": user, "ratings": ratings}).status_code == 200
    done = command("export", "--database", kept, "--out", tmp_path / "likes.parquet")
    assert done.returncode == 0, done.stderr
    done = command("update", model, tmp_path / "likes.parquet", "--out", tmp_path / "updated")
    assert done.returncode == 0, done.stderr
    done = command("learn", model, "--database", kept, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["outcome"], facts["new"], [*facts["measures"]]) == ("taken", 80, ["ndcg"])
    for path in (tmp_path / "updated", model):
        found = rg.open(path)
        assert not found.predictor.has_stars
        assert len(found.users) == 40 + 8
        listed = {int(line.movie.movie_id[1:]) for line in found.recommend("visitor-3", k=3)}
        assert listed <= set(range(21, 30, 2)), "liked ones are left out"
    history = client.get("/api/admin/learning").json()["rounds"]
    assert history[0]["measures"].keys() == {"ndcg"}
    assert client.get("/metrics").status_code == client.get("/api/insights").status_code == 200


def test_an_uploaded_list_of_movies_is_liked(likes: httpx.Client) -> None:
    for content in ("movieId\nm0\nm2\n", "movieId,liked\nm0,1\nm2,1\n", "movieId,rating\nm0,5\nm2,2\nm4,0\n"):
        assert likes.post("/api/exports", content=content).json()["ratings"] == {"m0": 1, "m2": 1}, content


def test_insights_and_report_are_of_lists(likes: httpx.Client, viewed: Path) -> None:
    facts = likes.get("/api/insights").json()
    assert facts["model"]["kind"] == "ranking"
    assert facts["model"]["metrics"]["test"]["model"].keys() == {"ndcg", "recall"}
    assert (facts["groups"], facts["data"]["scale"], facts["data"]["values"]) == (None, None, [])
    assert facts["reasons"].keys() == {"ranking"}
    assert '"kind":"ranking"' in export_page(rg.open(viewed))


def test_a_packed_model_makes_the_same_lists(viewed: Path, tmp_path: Path) -> None:
    model = rg.open(viewed)
    pack(model.artifact, tmp_path / "states.zip")
    shutil.unpack_archive(tmp_path / "states.zip", tmp_path / "states")
    packed = open_packed(str(tmp_path / "states"))
    ours, theirs = (next(each.recommend_all(k=3)) for each in (model, packed))
    assert ours.equals(theirs)
