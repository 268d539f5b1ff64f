"""Statistics for analysts match the manifest and the library."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from reelgraph.artifact import HISTORY, read_artifact, write_artifact
from reelgraph.errors import ArtifactError, DataError
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.app import create_app
from reelgraph.service.settings import Settings


def run(method: str, seed: int, rmse: float) -> dict[str, Any]:
    """A run of a bench."""
    names = ("mae", "user_rmse", "ndcg", "recall", "coverage", "predict_seconds", "memory_gb")
    facts = {"dataset": "d", "method": method, "seed": seed, "error": None, "unpredictable": 0}
    return facts | dict.fromkeys(names, 0.5) | {"rmse": rmse, "tune_seconds": 2.0, "fit_seconds": 1.0}


@pytest.fixture(scope="module")
def statistics(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/api/insights")
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


def test_numbers_match_the_manifest(statistics: dict[str, Any], model: Recommender, model_dir: Path) -> None:
    manifest = json.loads((model_dir / "manifest.json").read_text(encoding="utf-8"))
    assert statistics["model"]["metrics"] == manifest["metrics"]
    assert statistics["model"]["list_measures"] == manifest["analysis"]["lists"]
    assert statistics["groups"] == manifest["analysis"]["groups"] | {"calibration": manifest["analysis"]["calibration"]}
    assert statistics["data"]["counts"] == manifest["data"]["counts"]
    assert (statistics["other"], statistics["leaderboard"]) == (None, None)
    lines = (model_dir / HISTORY).read_text(encoding="utf-8").splitlines()[1:]
    assert [(row["phase"], row["step"]) for row in statistics["history"]] == [
        (line.split(",")[0], int(line.split(",")[1])) for line in lines
    ]
    values = Counter(model.artifact.seen["rating"].to_pylist())
    assert {row["name"]: row["number"] for row in statistics["data"]["values"]} == {
        f"{v:g}": n for v, n in values.items()
    }
    for name, count, ratings in (("user", len(model.users), "user_index"), ("movie", len(model.items), "item_index")):
        groups = statistics["data"][f"{name}_ratings"]
        assert sum(group["number"] for group in groups) == count
        rated = Counter(model.artifact.seen[ratings].to_pylist())
        assert groups[-1] == {"name": "50+", "number": sum(number >= 50 for number in rated.values())}


def test_list_statistics_match_the_users_lists(statistics: dict[str, Any], model: Recommender) -> None:
    lists, ratings = statistics["lists"], Counter(model.artifact.seen["item_index"].to_pylist())
    assert lists["users"] == len(model.users), "there are fewer than the sample may have"
    listed = Counter(
        line.movie.movie_id for user in range(len(model.users)) for line in model.recommend(model.users.id(user))
    )
    assert lists["listed"] == len(listed)
    assert {row["movie_id"]: row["lists"] for row in lists["most"]}.items() <= listed.items()
    assert [row["lists"] for row in lists["most"]] == [number for _, number in listed.most_common(10)]
    histogram = {row["name"]: row["number"] for row in lists["histogram"]}
    assert histogram["0"] == len(model.items) - len(listed)
    assert histogram["1-2"] == sum(number <= 2 for number in listed.values())
    order = sorted(range(len(model.items)), key=lambda item: -ratings[item])
    first = [model.items.id(item) for item in order[: lists["popularity"][0]["movies"]]]
    assert len(first) == np.ceil(0.01 * len(model.items))
    assert lists["popularity"][0]["places"] == pytest.approx(sum(listed[name] for name in first) / listed.total())
    for share in ("ratings", "places"):
        assert sum(row[share] for row in lists["popularity"]) == pytest.approx(1)
    assert sum(row["movies"] for row in lists["popularity"]) == len(model.items)


def test_statistics_are_cached_by_etag(client: httpx.Client) -> None:
    tag = client.get("/api/insights").headers["etag"]
    again = client.get("/api/insights", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_two_models_side_by_side(
    serve: Callable[..., httpx.Client], model_dir: Path, other_dir: Path, model: Recommender
) -> None:
    client, user = serve(model_dir, compare=other_dir), model.users.id(3)
    comparison = client.get("/api/insights/compare", params={"user": user, "k": 7}).json()
    ids = {}
    for side, each in (("serving", model), ("other", open_model(other_dir))):
        ids[side] = [line.movie.movie_id for line in each.recommend(user, k=7)]
        assert [movie["movie_id"] for movie in comparison[side]["movies"]] == ids[side]
        assert (comparison[side]["known"], comparison[side]["ratings"]) == (True, each.predictor.user_counts[3])
    assert ids["serving"] != ids["other"]
    assert comparison["shared"] == len(set(ids["serving"]) & set(ids["other"]))
    for side, other in (("serving", "other"), ("other", "serving")):
        places = {name: rank for rank, name in enumerate(ids[other], 1)}
        assert [movie["elsewhere"] for movie in comparison[side]["movies"]] == [places.get(name) for name in ids[side]]
    facts = client.get("/api/insights").json()
    assert facts["other"]["artifact"]["id"] == comparison["other"]["artifact"]["id"] != facts["model"]["artifact"]["id"]


def test_users_unknown_to_one_or_both_models(
    serve: Callable[..., httpx.Client], model_dir: Path, model: Recommender, strangers: Path
) -> None:
    client = serve(model_dir, compare=strangers)
    comparison = client.get("/api/insights/compare", params={"user": "stranger-0"}).json()
    assert (comparison["serving"]["known"], comparison["serving"]["movies"], comparison["shared"]) == (False, [], None)
    assert len(comparison["other"]["movies"]) == 10
    answer = client.get("/api/insights/compare", params={"user": "zz"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_id")
    assert client.get("/api/insights/compare").json()["error"]["code"] == "invalid"


def test_without_a_second_model_comparison_has_one_list(client: httpx.Client, model: Recommender) -> None:
    user = model.users.id(0)
    comparison = client.get("/api/insights/compare", params={"user": user}).json()
    assert (comparison["other"], comparison["shared"]) == (None, None)
    assert [movie["movie_id"] for movie in comparison["serving"]["movies"]] == [
        line.movie.movie_id for line in model.recommend(user)
    ]
    assert {movie["elsewhere"] for movie in comparison["serving"]["movies"]} == {None}


def test_the_leaderboard_summarises_bench_results(
    serve: Callable[..., httpx.Client], model_dir: Path, tmp_path: Path
) -> None:
    runs = [run("b", 0, 0.9), run("a", 0, 0.7), run("a", 1, 0.9)]
    bench = {"kind": "reelgraph-bench", "version": 1, "date": "2026-01-02", "machine": "m", "runs": runs}
    (tmp_path / "results.json").write_text(json.dumps(bench), encoding="utf-8")
    board = serve(model_dir, bench=tmp_path).get("/api/insights").json()["leaderboard"]
    assert (board["date"], board["machine"]) == ("2026-01-02", "m")
    first, second = board["rows"]
    assert (first["method"], first["runs"], second["method"]) == ("a", 2, "b")
    assert first["rmse"] == pytest.approx(0.8)
    assert first["rmse_half"] == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert first["seconds"] == 3
    assert second["rmse_half"] is None


def test_unusable_results_and_models_are_refused_at_the_start(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results.json: expected benchmark results"):
        create_app(model_dir, Settings(bench=tmp_path, database=str(tmp_path / "r.sqlite")))
    with pytest.raises(ArtifactError):
        create_app(model_dir, Settings(compare=tmp_path, database=str(tmp_path / "r.sqlite")))


@pytest.fixture(scope="module")
def strangers(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with different user ids."""
    artifact = read_artifact(model_dir)
    ids = pa.array([f"stranger-{number}" for number in range(artifact.users.num_rows)])
    users = artifact.users.set_column(artifact.users.column_names.index("userId"), "userId", ids)
    path = tmp_path_factory.mktemp("strangers") / "model"
    write_artifact(replace(artifact, users=users), path)
    return path
