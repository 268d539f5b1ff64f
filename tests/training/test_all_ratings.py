"""A saved model knows all ratings, its metrics those of the training alone."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from reelgraph.arrays import NO_ITEM
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.data.load import load
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.training.fit import fit
from reelgraph.training.loop import Progress
from reelgraph.training.update import rebuild
from tests.support.commands import CommandLine
from tests.support.worlds import checkerboard, interactions, moody, settings

HEADS: dict[str, dict[str, Any]] = {
    "stars": {"max_steps": 5},
    "ranking": {"max_steps": 5, "ranking": True, "rank_max_steps": 5, "rank_dim": 4},
    "gcn": {"model": "gcn", "max_steps": 8},
}


def every(data: Dataset) -> Interactions:
    return merge(merge(data.train, data.valid), data.test)


def rated_cells(data: Dataset) -> np.ndarray[Any, Any]:
    """Whether a user has rated a movie, bool `(num_users, num_items)`."""
    cells = np.zeros((len(data.users), len(data.items)), bool)
    cells[every(data).user_index, every(data).item_index] = True
    return cells


def assert_lists_are_new(model: Recommender, rated: np.ndarray[Any, Any]) -> None:
    """Lists of everyone hold all movies that the user has not rated, and no other one."""
    lists = model.list_indices(np.arange(len(rated), dtype=np.int32), k=rated.shape[1])
    for user, items in enumerate(lists):
        assert sorted(items[items != NO_ITEM].tolist()) == np.flatnonzero(~rated[user]).tolist()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("split", ["random", "time", "last", "given"])
def test_no_list_holds_a_rated_movie(tables: Path, tmp_path: Path, split: str, head: str) -> None:
    options: dict[str, Any] = {"split": split}
    ratings = tables / "ratings.csv"
    if split == "given":
        header, *rows = ratings.read_text().splitlines(keepends=True)
        (tmp_path / "train.csv").write_text(header + "".join(rows[:-40:2]))
        # The test ratings have no times, and the last users have no other ratings.
        (tmp_path / "test.csv").write_text(
            "userId,movieId,rating\n" + "".join(row.rpartition(",")[0] + "\n" for row in rows[1::2] + rows[-40::2])
        )
        ratings, options = tmp_path / "train.csv", {"test": tmp_path / "test.csv"}
    data = load(ratings, **options)
    assert len(data.valid)
    assert len(data.test)
    model = fit(data, settings(use_all=True, tune="none", **HEADS[head]))
    rated = rated_cells(data)
    assert rated.sum() == sum(map(len, (data.train, data.valid, data.test)))
    assert_lists_are_new(model, rated)
    assert np.array_equal(model.predictor.item_counts, rated.sum(0))
    with_seen = model.list_indices(np.arange(3, dtype=np.int32), k=len(data.items), include_seen=True)
    assert (with_seen != NO_ITEM).all()


@pytest.mark.parametrize("head", HEADS)
def test_metrics_are_those_of_the_model_without_test_ratings(head: str) -> None:
    data = checkerboard()
    config = settings(tune="none", **HEADS[head])
    measured, model = (fit(data, config.model_copy(update={"use_all": use_all})).artifact for use_all in (False, True))
    changing = {"created", "seconds", "config", "given", "seen"}
    kept = [{key: value for key, value in one.manifest.items() if key not in changing} for one in (measured, model)]
    assert kept[0] == kept[1]
    counts = {"train": len(data.train), "valid": len(data.valid), "test": 0, "after_metrics": 0}
    assert measured.manifest["seen"] == counts
    assert model.manifest["seen"] == counts | {"test": len(data.test), "after_metrics": len(data.test)}
    for name in ("user_index", "item_index", "rating"):
        assert np.array_equal(model.seen[name].to_numpy(), getattr(every(data), name))
    assert not np.array_equal(measured.weights["user.state"], model.weights["user.state"])


@pytest.mark.parametrize("head", ["stars", "ranking"])
def test_ratings_are_added_as_an_update_without_steps_adds_them(head: str) -> None:
    data = checkerboard()
    config = settings(tune="none", refit=False, **HEADS[head])
    measured, model = (fit(data, config.model_copy(update={"use_all": use_all})).artifact for use_all in (False, True))
    expected = rebuild(measured, every(data), {})
    for name, array in expected.weights.items():
        np.testing.assert_allclose(model.weights[name], array, atol=2e-5, err_msg=name)


def test_times_and_residuals_of_added_ratings_are_known() -> None:
    data = moody()
    measured, model = (fit(data, settings(tune="none", use_all=use_all)).artifact for use_all in (False, True))
    assert model.manifest["session"] is not None
    expected = rebuild(measured, every(data), {}).seen
    for name in ("timestamp", "residual"):
        np.testing.assert_allclose(model.seen[name].to_numpy(), expected[name].to_numpy(), atol=1e-4)


def test_a_user_with_test_ratings_alone_is_seen_as_a_visitor_with_these_ratings() -> None:
    data = checkerboard()
    new = data.train.user_index == 3
    moved = data.train.take(new)
    data = replace(
        data, train=data.train.take(~new), valid=data.valid.take(data.valid.user_index != 3),
        test=merge(data.test, moved),
    )  # fmt: skip
    model = fit(data, settings(use_all=True, **HEADS["ranking"] | {"max_steps": 40, "rank_max_steps": 20}))
    mine = data.test.take(data.test.user_index == 3)
    ratings = {f"m{item}": float(stars) for item, stars in zip(mine.item_index, mine.rating, strict=True)}
    assert len(ratings) > 10
    by_id, by_ratings = model.recommend("u3", k=30), model.recommend(ratings=ratings, k=30)
    assert [line.movie.movie_id for line in by_id] == [line.movie.movie_id for line in by_ratings]
    assert [line.prediction for line in by_id] == pytest.approx([line.prediction for line in by_ratings], abs=1e-4)


@pytest.mark.parametrize("phase", ["fit", "rank fit", "refit"])
def test_an_interrupted_training_suggests_no_rated_movie(phase: str) -> None:
    def press(now: str, progress: Progress, _: Any) -> None:
        if now == phase and progress.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    data = checkerboard()
    config = settings(use_all=True, tune="none", **HEADS["ranking"] | {"max_steps": 24})
    model = fit(data, config, observe=press)
    assert model.artifact.manifest["interrupted"]
    assert_lists_are_new(model, rated_cells(data))


def test_without_validation_and_test_ratings_nothing_is_added() -> None:
    nothing = interactions([], [], [])
    data = replace(checkerboard(), valid=nothing, test=nothing)
    artifact = fit(data, settings(use_all=True)).artifact
    assert artifact.manifest["seen"] == {"train": len(data.train), "valid": 0, "test": 0, "after_metrics": 0}
    assert artifact.seen.num_rows == len(data.train)


def test_evaluation_on_known_ratings_is_warned_about() -> None:
    data = checkerboard()
    rows = list(zip(*data.raw_ids(data.test), data.test.rating.tolist(), strict=True))
    measured, model = (fit(data, settings(use_all=use_all)) for use_all in (False, True))
    report = measured.evaluate(rows)
    assert (report.seen_pairs, report.warning) == (0, None)
    mixed = [*rows[:7], ("nobody", "m0", 3.0), ("u0", "nothing", 3.0)]
    unrated = np.argwhere(~rated_cells(data))
    mixed += [(f"u{user}", f"m{item}", 3.0) for user, item in unrated]
    with pytest.warns(UserWarning, match=rf"7 of {len(mixed)} .*use_all=False"):
        report = model.evaluate(mixed)
    assert report.seen_pairs == report.to_json()["seen_pairs"] == 7


def test_a_user_who_has_rated_everything_gets_no_list(tables: Path, tmp_path: Path, command: CommandLine) -> None:
    with (tables / "ratings.csv").open(newline="") as file:
        rows = [(row["userId"], row["movieId"], row["rating"]) for row in csv.DictReader(file)]
    rows += [("bot", movie, "3") for movie in sorted({movie for _, movie, _ in rows})]

    def write(name: str, some: list[tuple[str, str, str]]) -> None:
        (tmp_path / name).write_text("userId,movieId,rating\n" + "".join(",".join(row) + "\n" for row in some))

    def listed(model: str) -> set[tuple[str, str]]:
        done = command("recommend", model, "--all", "-k", 80, "--out", "l.parquet", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        lists = pq.read_table(tmp_path / "l.parquet").to_pylist()
        return {(row["userId"], row["movieId"]) for row in lists}

    write("ratings.csv", rows)
    done = command(
        "train", "ratings.csv", "--tune", "none", "--no-ranking", "--max-steps", 30, "--out", "m", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rated = {row[:2] for row in rows}
    pairs = {(user, movie) for user, _ in rated for _, movie in rated}
    assert listed("m") == pairs - rated
    new = [*sorted(pairs - rated)[:50], ("late", "10")]
    write("new.csv", [(*pair, "4") for pair in new])
    assert command("update", "m", "new.csv", "--out", "u", cwd=tmp_path).returncode == 0
    late = {("late", movie) for _, movie in pairs}
    assert listed("u") == (pairs | late) - rated - set(new)
    write("some.csv", [*rows[:30], ("late", "10", "4")])
    done = command("evaluate", "m", "some.csv", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["seen_pairs"] == 30
    assert [line for line in done.stderr.splitlines() if "--no-use-all" in line and "30 of 31" in line]
    screen = command("evaluate", "m", "some.csv", cwd=tmp_path).stdout
    assert "RMSE (too low: of known ratings)" in screen
    write("others.csv", sorted((*pair, "3") for pair in pairs - rated)[:40])
    assert "RMSE  " in command("evaluate", "m", "others.csv", cwd=tmp_path).stdout
    assert "seen" in json.loads((tmp_path / "m" / "manifest.json").read_text())
    assert "seen" not in open_model(tmp_path / "u").artifact.manifest
