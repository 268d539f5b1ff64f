"""The public API, `import reelgraph as rg`."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import reelgraph as rg
from reelgraph.errors import ArtifactError, ConfigError, DataError, OutputError, UnknownIdError


@pytest.fixture(scope="module")
def data(tables: Path) -> rg.Dataset:
    return rg.load(tables / "ratings.csv", items=tables / "movies.csv", users=tables / "users.csv")


@pytest.fixture(scope="module")
def model(data: rg.Dataset) -> rg.Recommender:
    return rg.fit(data, seed=3, max_steps=30)


def test_public_names() -> None:
    assert len(rg.__all__) <= 10
    assert set(rg.__all__) <= set(dir(rg))
    for name in rg.__all__:
        assert getattr(rg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = rg.fitt


def test_load_returns_the_ratings_of_the_file(tables: Path, data: rg.Dataset) -> None:
    rows = [line.split(",") for line in (tables / "ratings.csv").read_text().splitlines()[1:]]
    loaded = {
        (data.users.id(int(user)), data.items.id(int(item)), float(stars))
        for part in (data.train, data.valid, data.test)
        for user, item, stars in zip(part.user_index, part.item_index, part.rating, strict=True)
    }
    assert loaded == {(user, movie, float(stars)) for user, movie, stars, _ in rows}
    assert data.scale == (1, 5)
    title = data.item_table["title"][data.items.index("10")].as_py()
    assert title == "Movie, The 1"


def test_settings_by_keyword_or_as_a_config(tables: Path) -> None:
    by_name = rg.load(tables / "ratings.csv", split="last", last=2)
    by_value = rg.load(tables / "ratings.csv", config=rg.DataConfig(split="last", last=2))
    assert by_name.manifest["split"] == by_value.manifest["split"]
    assert len(by_name.test) == 2 * len(by_name.users)


def test_unknown_settings_are_refused_by_name(tables: Path, data: rg.Dataset) -> None:
    with pytest.raises(ValidationError, match="dims"):
        rg.fit(data, dims=3)
    with pytest.raises(ValidationError, match="splitt"):
        rg.load(tables / "ratings.csv", splitt="last")


def test_unusable_input_raises_a_reelgraph_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none") as refused:
        rg.load(tmp_path / "nowhere.csv")
    assert isinstance(refused.value, rg.ReelgraphError)
    with pytest.raises(ArtifactError, match="expected a model directory"):
        rg.open(tmp_path)


def test_fits_are_reproducible_by_seed(data: rg.Dataset, model: rg.Recommender) -> None:
    same, other = rg.fit(data, seed=3, max_steps=30), rg.fit(data, seed=4, max_steps=30)
    weights = [fitted.artifact.weights for fitted in (model, same, other)]
    assert all(weights[0][name].tobytes() == weights[1][name].tobytes() for name in weights[0])
    assert any(weights[0][name].tobytes() != weights[2][name].tobytes() for name in weights[0])


def test_a_saved_model_gives_the_same_answers(model: rg.Recommender, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    opened = rg.open(tmp_path / "m")
    pairs = [(user, 10 * movie) for user in range(1, 62) for movie in range(1, 82)]
    np.testing.assert_array_equal(model.predict(pairs), opened.predict(pairs))
    assert model.recommend("5", k=80) == opened.recommend("5", k=80)
    assert model.recommend(ratings={"10": 5}, genre="War") == opened.recommend(ratings={"10": 5}, genre="War")
    assert model.similar("70") == opened.similar("70")
    assert model.explain("5", movie="70") == opened.explain("5", movie="70")
    rows = [(user, movie, 3.0) for user, movie in pairs]
    assert model.evaluate(rows) == opened.evaluate(iter(rows))
    assert opened.artifact.manifest["metrics"] == model.artifact.manifest["metrics"]


def test_ids_of_any_type_are_compared_as_text(model: rg.Recommender) -> None:
    assert model.recommend(5) == model.recommend("5") == model.recommend(np.int64(5))
    assert model.recommend(ratings={10: 5.0}) == model.recommend(ratings={"10": 5.0})
    assert model.similar(70) == model.similar("70")
    np.testing.assert_array_equal(model.predict([(5, "70")]), model.predict([("5", 70)]))


def test_evaluate_returns_the_test_errors_of_the_fit(data: rg.Dataset) -> None:
    model = rg.fit(data, seed=3, max_steps=30, use_all=False)
    rows = [
        (data.users.id(int(user)), data.items.id(int(item)), float(stars))
        for user, item, stars in zip(data.test.user_index, data.test.item_index, data.test.rating, strict=True)
    ]
    report = model.evaluate(rows)
    assert report.pairs == len(data.test)
    errors = np.asarray([float(model.predict([row[:2]])[0]) - row[2] for row in rows])
    assert report.rmse == pytest.approx(np.sqrt(np.mean(errors**2)), abs=1e-6)
    assert report.mae == pytest.approx(np.mean(np.abs(errors)), abs=1e-6)
    metrics = model.artifact.manifest["metrics"]["test"]
    untimed = metrics.get("untimed", metrics["model"])  # The rows above have no times.
    assert (report.rmse, report.mae) == pytest.approx((untimed["rmse"], untimed["mae"]), abs=1e-6)


def test_empty_input(model: rg.Recommender) -> None:
    assert model.predict([]).shape == (0,)
    empty: list[Iterable[tuple[object, object, float]]] = [[], iter([])]
    for nothing in empty:
        report = model.evaluate(nothing)
        assert (report.pairs, report.unknown_users, report.unknown_movies) == (0, 0, 0)
        assert np.isnan(report.rmse)


def test_unknown_movies_are_refused_with_similar_ids(model: rg.Recommender) -> None:
    with pytest.raises(UnknownIdError, match=r"movie '7o0': .*similar ids are 70,"):
        model.similar("7o0")
    with pytest.raises(UnknownIdError, match=r"movie '7o0': .*similar ids are 70,"):
        model.explain("1", movie="7o0")
    with pytest.raises(UnknownIdError, match=r"movie '7o0': .*similar ids are 70,"):
        model.recommend(ratings={"7o0": 3})
    with pytest.raises(ConfigError, match="found 81"):
        model.similar("700", k=81)


def test_a_failed_save_keeps_the_older_model(
    model: rg.Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save(tmp_path / "m")
    before = {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}
    flushed = []

    def fail_at_the_third(handle: int) -> None:
        flushed.append(handle)
        if len(flushed) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail_at_the_third)
    with pytest.raises(OutputError, match="No space left on device"):
        model.save(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()} == before
    monkeypatch.undo()
    assert rg.open(tmp_path / "m").recommend("1") == model.recommend("1")


COMMANDS = {
    "recommend": ["--user", "1"],
    "visitor": ["--ratings", "my.csv"],
    "everyone": ["--all", "--out", "lists.parquet"],
    "predict": ["pairs.csv", "--out", "predictions.csv"],
    "evaluate": ["test.csv"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_serving_commands_import_neither_torch_nor_engines(model_dir: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "my.csv").write_text("movieId,rating\n10,5\n")
    (tmp_path / "pairs.csv").write_text("userId,movieId\n1,10\n")
    (tmp_path / "test.csv").write_text("userId,movieId,rating\n1,10,4\n")
    words = [name if name in {"predict", "evaluate"} else "recommend", str(model_dir), *COMMANDS[name]]
    code = f"""
import sys
from reelgraph.cli import main
try:
    main({words!r})
except SystemExit as left:
    assert left.code == 0, left.code
heavy = {{"torch", "torch_geometric", "duckdb", "sqlframe", "pyspark"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
