"""The public API, `import reelgraph as rg`."""

import errno
import html
import inspect
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional
from xml.etree import ElementTree

import numpy as np
import polars
import pyarrow as pa
import pytest

import reelgraph as rg
from reelgraph.errors import ArtifactError, ConfigError, DataError, OutputError, UnknownIdError
from reelgraph.recommend.lists import Choice


@pytest.fixture(scope="module")
def data(tables: Path) -> rg.Dataset:
    return rg.load(tables / "ratings.csv", items=tables / "movies.csv", users=tables / "users.csv")


@pytest.fixture(scope="module")
def model(data: rg.Dataset) -> rg.Recommender:
    return rg.fit(data, seed=3, max_steps=30)


def test_public_names() -> None:
    assert set(rg.__all__) == set(dir(rg))
    assert {"load", "fit", "open", "update", "cross_validate", "Trainer", "metrics", "errors"} <= set(dir(rg))
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
    with pytest.raises(TypeError, match="dims"):
        rg.fit(data, dims=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="splitt"):
        rg.load(tables / "ratings.csv", splitt="last")  # type: ignore[call-arg]
    for refused in (lambda: rg.fit(data, dim=0), lambda: rg.TrainConfig(dim=0), lambda: rg.load(valid_share=2.0)):
        with pytest.raises(rg.ReelgraphError, match=r"^setting (dim|valid_share): .*, found (0|2.0); correct it$"):
            refused()
    with pytest.raises(rg.ReelgraphError, match="the settings are model, seed, dim,"):
        rg.TrainConfig(dims=3)  # type: ignore[call-arg]


def test_settings_by_name_come_before_those_of_a_config(tables: Path) -> None:
    config = rg.DataConfig(split="last", last=2)
    data = rg.load(tables / "ratings.csv", config=config, last=3)
    assert (data.manifest["split"]["kind"], len(data.test)) == ("last", 3 * len(data.users))
    assert rg.TrainConfig(model="gcn").changed({"seed": 1, "dim": None, "other": 2}) == rg.TrainConfig(
        model="gcn", seed=1
    )


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


def test_signatures_name_every_option_with_its_type() -> None:
    for function in (rg.load, rg.fit, rg.Recommender.recommend, rg.Recommender.evaluate):
        parameters = inspect.signature(function).parameters.values()
        assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        assert all(parameter.annotation is not parameter.empty for parameter in parameters if parameter.name != "self")
    assert set(Choice.__dataclass_fields__) <= set(inspect.signature(rg.Recommender.recommend).parameters)
    for call, config in ((rg.fit, rg.TrainConfig), (rg.load, rg.DataConfig)):
        named = inspect.signature(call).parameters
        for name, field in config.model_fields.items():
            assert named[name].annotation == Optional[field.annotation], name  # noqa: UP045 (a type at run time)


def test_a_fit_shows_bars_in_a_notebook(data: rg.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    updates: list[str] = []
    handle = SimpleNamespace(update=updates.append)
    page = SimpleNamespace(HTML=str, display=lambda *_, **__: handle)
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    monkeypatch.setattr("reelgraph.training.bars.Console", lambda **_: SimpleNamespace(is_jupyter=True))
    rg.fit(data, max_steps=10, tune="none", ranking=False)
    assert '<progress max="10" value="10"></progress> fit  RMSE' in updates[-1]
    assert "refit" in updates[-1]
    shown = len(updates)
    rg.fit(data, max_steps=10, tune="none", ranking=False, progress=False)
    phases: list[str] = []
    rg.fit(data, max_steps=10, tune="none", ranking=False, observe=lambda phase, *_: phases.append(phase))
    assert len(updates) == shown
    assert set(phases) == {"fit", "refit"}


def test_a_fit_prints_nothing_where_there_is_no_terminal(data: rg.Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    rg.fit(data, max_steps=5, tune="none", ranking=False)
    assert capfd.readouterr() == ("", "")


def test_every_option_of_a_list_has_its_effect(model: rg.Recommender) -> None:
    """Options are passed on by position inside."""
    options: dict[str, Any] = {
        "k": 4, "order": "stars", "diversity": 0.5, "calibration": 0.25, "popularity_penalty": 0.5, "genre": "war",
        "year": "1970-1990", "min_ratings": 3, "allow": ["10", "20", "30"], "deny": ["10"], "include_seen": True,
    }  # fmt: skip
    assert options.keys() == Choice.__dataclass_fields__.keys()
    person = model.person("5")
    for name, value in options.items():
        expected = model.lists.page(person, Choice(**{name: value})).suggestions
        assert list(model.recommend("5", **{name: value})) == expected, name


def test_the_lists_of_several_users_are_those_of_each(model: rg.Recommender) -> None:
    several = model.recommend(users=["7", 3, "7"], k=4, order="stars")
    assert list(several) == ["7", "3"]
    for user, suggestions in several.items():
        assert suggestions == model.recommend(user, k=4, order="stars")
    table = several.to_arrow()
    assert table["userId"].to_pylist() == ["7"] * 4 + ["3"] * 4
    assert table["rank"].to_pylist() == [1, 2, 3, 4] * 2
    assert len(model.recommend(users=[])) == 0
    with pytest.raises(UnknownIdError, match="nobody"):
        model.recommend(users=["1", "nobody"])
    with pytest.raises(ConfigError, match="found several"):
        model.recommend("1", users=["2"])  # type: ignore[call-overload]


def test_results_are_frozen_tables(model: rg.Recommender) -> None:
    suggestions = model.recommend("5", k=3)
    frame = suggestions.to_pandas()
    assert list(frame.columns) == ["rank", "movieId", "title", "year", "genres", "score", "prediction"]
    assert frame["movieId"].tolist() == [line.movie.movie_id for line in suggestions]
    assert frame["prediction"].tolist() == [line.prediction for line in suggestions]
    similar, found, people = model.similar("70", 4), model.search("movie", 5), model.similar_users("3", 2)
    assert similar.to_pandas()["similarity"].tolist() == [value for _, value in similar]
    assert similar == model.similar(model.search("movie the 7", 1)[0], 4)
    assert found.to_arrow()["movieId"].to_pylist() == [movie.movie_id for movie in found]
    assert people.to_arrow().to_pylist() == [{"userId": user, "similarity": value} for user, value in people]
    with pytest.raises(TypeError):
        suggestions[0] = suggestions[1]  # type: ignore[index]
    for empty in (model.recommend("5", year=1900), model.search("zzzz"), model.recommend(users=[])):
        assert empty.to_arrow().num_rows == 0
        assert "0 rows" in repr(empty)


def test_results_show_themselves(model: rg.Recommender) -> None:
    suggestions = model.recommend("5", k=30)
    text, page = repr(suggestions), suggestions._repr_html_()
    assert text.splitlines()[0] == "Suggestions: 30 rows, the first 20 shown"
    for line in suggestions[:20]:
        assert str(line.movie.title) in text
        assert html.escape(str(line.movie.title)) in page
    assert max(map(len, text.splitlines())) <= 80
    for shown in (model, model.user_vectors, model.similar("70"), model.recommend(users=["1", "2"])):
        assert type(shown).__name__ in repr(shown)
        assert ElementTree.fromstring(shown._repr_html_()) is not None
    assert f"{model.artifact.manifest['metrics']['test']['model']['rmse']:.4f} (test)" in repr(model)
    for name, value in (("rich.console._is_jupyter", lambda: True), ("os.environ", os.environ | {"FORCE_COLOR": "1"})):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(name, value)
            assert repr(suggestions) == text, "a notebook shows the table itself"


def test_data_reports_and_explanations_show_themselves(data: rg.Dataset, model: rg.Recommender) -> None:
    table = data.to_arrow()
    assert table.num_rows == len(data.train) + len(data.valid) + len(data.test)
    first = data.test.user_index[0], data.test.item_index[0], float(data.test.rating[0])
    row = table.filter(pa.compute.equal(table["split"], "test")).to_pylist()[0]
    assert (row["userId"], row["movieId"], row["rating"]) == (
        data.users.id(first[0]),
        data.items.id(first[1]),
        first[2],
    )
    assert f"{len(data.users)} users" in repr(data)
    unknown = [("new", "10", 4.0), ("new", "20", 2.0)]
    errors, lists = model.evaluate(unknown), model.evaluate_lists([("1", data.items.id(0), 5.0)])
    assert errors.to_arrow().to_pylist()[0]["rmse"] == errors.rmse
    assert dict(zip(*lists.to_arrow().to_pydict().values(), strict=True))["ndcg"] == lists.ndcg
    told = model.explain("5", movie="70")
    assert told.to_pandas()["contribution"].tolist() == [reason.contribution for reason in told.because]
    assert repr(told) == "\n".join(told.text())
    for shown in (data, told, errors, lists):
        assert len(repr(shown)) < 2500
        assert ElementTree.fromstring(shown._repr_html_()) is not None


def test_results_are_read_by_polars_and_arrow(model: rg.Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    suggestions = model.recommend("5", k=3)
    assert pa.RecordBatchReader.from_stream(suggestions).read_all() == suggestions.to_arrow()
    frame = suggestions.to_polars()
    assert isinstance(frame, polars.DataFrame)
    assert frame.to_dicts() == suggestions.to_arrow().to_pylist()
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(rg.ReelgraphError, match="pip install polars"):
        suggestions.to_polars()


def test_vectors_are_the_states_that_similar_movies_are_found_by(model: rg.Recommender) -> None:
    movies, users = model.movie_vectors, model.user_vectors
    assert (len(movies), len(users)) == (80, 60)
    for other, cosine in model.similar("70", 3):
        one, two = movies[70], movies[other.movie_id]
        assert cosine == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two), abs=1e-5)
    np.testing.assert_array_equal(np.asarray(users)[users.ids.index("5")], users["5"])
    frame = users.to_pandas()
    assert frame["userId"].tolist() == users.ids
    np.testing.assert_array_equal(np.stack(frame["vector"].to_list()), np.asarray(users))
    with pytest.raises(ValueError, match="read-only"):
        users.values[0, 0] = 1
    with pytest.raises(UnknownIdError):
        movies["nothing"]


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
heavy = {{"torch", "torch_geometric", "duckdb", "pyspark"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
