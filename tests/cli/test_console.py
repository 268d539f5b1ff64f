"""Results on stdout and progress on stderr; texts from files are printed literally."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reelgraph.cli import console
from reelgraph.cli import progress as progress_module
from reelgraph.doctor.check import Check
from reelgraph.metrics.labels import MEASURES, PREDICTORS
from reelgraph.metrics.ratings import EvaluationReport, Group
from reelgraph.recommend.catalogue import Movie
from reelgraph.recommend.explain import Reason
from reelgraph.recommend.lists import Suggestion
from reelgraph.recommend.results import GroupSuggestions
from reelgraph.recommend.together import GroupSuggestion, Opinion
from reelgraph.training.loop import Evaluation, Progress
from tests.support.worlds import settings

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def cells(text: str) -> list[list[str]]:
    """The cells of a table without borders, separated by two or more blanks."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]


def suggestion(title: str | None, **changes: Any) -> Suggestion:
    movie = {"movie_id": "7", "title": title, "year": 1995, "genres": ("Drama", "War")} | changes
    return Suggestion(Movie(**movie), 1.5, 4.256)


def test_a_list_shows_rank_title_year_genres_and_stars(capsys: Captured) -> None:
    console.show_list("For user 1", [suggestion("Heat"), suggestion(None, year=None, genres=(), movie_id="x")])
    out, err = capsys.readouterr()
    assert err == ""
    assert cells(out) == [
        ["For user 1"],
        ["movie", "title", "year", "genres", "stars"],
        ["1", "7", "Heat", "1995", "Drama, War", "4.26"],
        ["2", "x", "4.26"],
    ]


def test_titles_are_printed_literally_and_whole(capsys: Captured) -> None:
    long = "[bold]Amélie[/bold] :smile: " + "and so on " * 20 + "the end"
    console.show_list("For user [red]1[/red]", [suggestion(long)])
    out = capsys.readouterr().out
    assert "For user [red]1[/red]" in out
    assert "[bold]Amélie[/bold]" in out
    assert out.count("and") == 20
    assert "\x1b" not in out
    assert max(len(line) for line in out.splitlines()) <= 80


def for_people(*people: str, title: str = "Star Wars: Episode V - The Empire Strikes Back") -> GroupSuggestions:
    """Four movies for people who gave an earlier one one star more each."""
    movies = [Movie(str(1196 + place), title, 1980, ("Action", "Adventure", "Sci-Fi")) for place in range(4)]
    reasons = [Reason(Movie("260", title, 1977, ()), stars, stars / 10) for stars in range(1, len(people) + 1)]
    opinions = [Opinion(name, 4.25, None, (reason,)) for name, reason in zip(people, reasons, strict=True)]
    return GroupSuggestions([GroupSuggestion(movie, 1.0, tuple(opinions)) for movie in movies])


@pytest.mark.parametrize("people", [("Ann", "Ben"), ("Ann", "Ben", "Cyd"), ("Ann", "Ben", "Cyd", "Dot", "Eve")])
def test_a_list_for_several_people_gives_one_reason(capsys: Captured, people: tuple[str, ...]) -> None:
    console.show_list("For all", for_people(*people))
    *lines, note = capsys.readouterr().out.splitlines()
    words = " ".join(lines).split()
    assert words.count("4.25") == 4 * len(people)
    assert "genres" in note
    assert "because" in words
    assert words.count(people[-1]) == 1 + 4, "whose rating supports the movie most"
    assert words.count(people[0]) == 1
    assert len(lines) <= 2 + 4 * 3, "at most three lines for each movie"


def test_an_empty_list_is_explained(capsys: Captured) -> None:
    console.show_list("For user 1", [])
    assert capsys.readouterr().out == "For user 1: no movie passes these filters\n"


def test_notes_are_printed_literally_on_stderr(capsys: Captured) -> None:
    line = "[data] " + "word " * 60 + "end"
    progress_module.note(line)
    assert capsys.readouterr() == ("", line + "\n")


def manifest(**counts: int) -> dict[str, Any]:
    base = dict.fromkeys(("unknown_test_users", "unknown_test_movies", "rejected"), 0)
    base |= {"users": 60, "movies": 80, "ratings": 1200, "train": 1000, "valid": 150, "test": 50}
    return {"counts": base | counts, "scale": {"low": 0.5, "high": 5.0}, "split": {"kind": "time"}}


def test_the_summary_of_the_data(capsys: Captured) -> None:
    console.show_data(manifest())
    assert cells(capsys.readouterr().out) == [
        ["Data"],
        ["users", "60"],
        ["movies", "80"],
        ["ratings", "1,200"],
        ["density", "25.00%"],
        ["scale", "0.5 to 5"],
        ["split (time)", "1,000 train / 150 valid / 50 test"],
    ]
    console.show_data(manifest(unknown_test_users=3, unknown_test_movies=1, rejected=1234))
    assert cells(capsys.readouterr().out)[-3:] == [
        ["test users without training ratings", "3"],
        ["test movies without training ratings", "1"],
        ["refused rows", "1,234"],
    ]


def test_errors_of_model_and_baselines(capsys: Captured) -> None:
    names = ("mean", "popularity", "bias", "model")
    metrics = {
        split: {name: {"rmse": 1 + place / 10 + more, "mae": place / 10 + more} for place, name in enumerate(names)}
        for split, more in (("test", 0.05), ("valid", 0.0))
    }
    console.show_errors(metrics)
    rows = cells(capsys.readouterr().out)
    assert rows[1] == ["validation RMSE", "validation MAE", "test RMSE", "test MAE"]
    assert rows[2] == ["mean rating", "1.0000", "0.0000", "1.0500", "0.0500"]
    assert rows[-1] == ["this model", "1.3000", "0.3000", "1.3500", "0.3500"]
    console.show_errors({"test": metrics["test"]})
    assert cells(capsys.readouterr().out)[1] == ["test RMSE", "test MAE"]
    console.show_errors({})
    assert capsys.readouterr().out == ""


def test_the_table_of_an_evaluation(capsys: Captured) -> None:
    console.show_evaluation(EvaluationReport(1234, 0.87654, 0.5, 3, 2, 5))
    assert cells(capsys.readouterr().out)[1:] == [
        ["pairs", "1,234"],
        ["RMSE", "0.8765"],
        ["MAE", "0.5000"],
        ["users without training ratings", "3"],
        ["movies without training ratings", "2"],
        ["pairs with such a user or movie", "5"],
    ]
    console.show_evaluation(EvaluationReport(9, 1.0, 0.5, 0, 0, 0, seen_pairs=7))
    assert ["pairs among the model's own ratings", "7"] in cells(capsys.readouterr().out)


@pytest.mark.parametrize("refitted", [True, False])
@pytest.mark.parametrize("added", [0, 1234])
def test_the_summary_of_a_fit(capsys: Captured, refitted: bool, added: int) -> None:
    facts = {"refitted": refitted, "steps": 70, "seconds": 1.26, "config": {"model": "residual"}}
    console.show_fit(facts | {"seen": {"after_metrics": added}}, Path("out[1]"))
    again = ", refitted on training and validation ratings" if refitted else ""
    first, *more = capsys.readouterr().out.splitlines()
    assert first == f"residual: 70 steps{again}, 1.3 s; model in out[1]"
    assert len(more) == (added > 0)
    assert all(line.startswith("1,234 held-out ratings") for line in more)


def go(steps: int, max_steps: int) -> None:
    """Report the progress of a fit: the best evaluation at step 2, a worse one at step 4."""
    config = settings(max_steps=max_steps)
    with progress_module.fit_progress() as observe:
        for phase in ("fit", "refit"):
            progress = Progress()
            for step in range(1, steps + 1):
                progress.step, progress.seconds = step, step / 10
                if phase == "fit" and step in {2, 4}:
                    progress.history.append(Evaluation(step, 1.0, 0.9 + step / 100, 0.7, step / 10))
                    progress.best_step = 2
                observe(phase, progress, config)


def test_progress_in_a_pipe_is_a_line_every_few_seconds(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "LINE_EVERY", 1e9)
    go(5, max_steps=5)
    assert capsys.readouterr() == (
        "",
        "fit  step 1 of at most 5, 0.1 s, at most 0 s left\n"
        "fit  RMSE 0.9400 (best 0.9200)  step 5 of at most 5, 0.5 s\n"
        "refit  step 1 of at most 5, 0.1 s, at most 0 s left\n"
        "refit  step 5 of at most 5, 0.5 s\n",
    )
    monkeypatch.setattr(progress_module, "LINE_EVERY", 0.0)
    go(3, max_steps=5)
    assert len(capsys.readouterr().err.splitlines()) == 6


def test_progress_on_a_terminal_is_a_bar(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    go(4, max_steps=5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" in err
    assert "4/4" in err, "a phase that ended early is complete"
    assert "4/5" in err
    assert "RMSE 0.9400 (best 0.9200)" in err
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err).splitlines()[-1]
    assert re.search(r"4/5 +0:00:\d\d +(0|-):", last), "time spent and left fit the line"


def widths_and_words(text: str) -> tuple[int, set[str]]:
    """The longest line, and the words above the note on columns that are not shown."""
    return max(map(len, text.splitlines())), set(text.partition("not shown at this width:")[0].split())


WORDS = ("Extraordinarily", "Unpronounceable", "Misunderstandings", "of", "the", "a")


def long_title(place: int) -> str:
    return " ".join(WORDS[(place + step) % len(WORDS)] for step in range(9))


def tables() -> dict[str, Callable[[], None]]:
    """Each table of the commands, filled with long cells."""
    genres = ("Adventure", "Animation", "Children", "Documentary", "Film-Noir", "Sci-Fi")
    movies: list[dict[str, Any]] = [
        {"movie_id": f"tt{place:08}", "title": long_title(place), "year": 1990 + place, "genres": genres}
        for place in range(5)
    ]
    measures = dict.fromkeys(("rmse", "mae"), 1.23456)
    lists: dict[str, float | None] = dict.fromkeys(
        ("ndcg", "recall", "precision", "hit_rate", "coverage", "novelty", "diversity"), 12.3456
    )
    group = Group("Film-Noir 1.23-4.56", 1_234_567, 1.0, 0.9, 3.5, 3.6)
    report = EvaluationReport(
        12_345_678, 0.9, 0.7, 3, 2, 5, seen_pairs=9, rmse_untimed=1.0, mae_untimed=0.9,
        interval={"level": 0.9, "coverage": 0.89, "mean_width": 2.1},
        groups={"user_ratings": [group], "movie_ratings": [group], "genre": [group]}, calibration=[group],
    )  # fmt: skip
    checks = [Check(f"check {n}", None if n else False, long_title(n), "run: " + long_title(n + 1)) for n in range(3)]
    names = ("order rank", "order less-known", "popularity", "diversity 0.3", "popularity penalty 0.3")
    return {
        "list": lambda: console.show_list("For user 1", [Suggestion(Movie(**movie), 1.5, 4.2) for movie in movies]),
        "together": lambda: console.show_list("For all", for_people(*"abcdefgh", title=long_title(0))),
        "movies": lambda: console.show_movies("Movies", movies),
        "similar": lambda: console.show_similar("Similar", [movie | {"similarity": 0.5} for movie in movies]),
        "data": lambda: console.show_data(manifest(rejected=1234, unknown_test_users=5)),
        "errors": lambda: console.show_errors(
            {"valid": dict.fromkeys(PREDICTORS, measures), "test": {"model": measures}}
        ),
        "evaluation": lambda: console.show_evaluation(report),
        "lists": lambda: console.show_list_measures(dict.fromkeys((*names, "default"), lists)),
        "checks": lambda: console.show_checks(checks),
    }


@pytest.mark.parametrize("name", tables())
def test_tables_fit_80_columns_and_break_no_word(capsys: Captured, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tables()[name]()
    width, words = widths_and_words(capsys.readouterr().out)
    assert width <= 80
    monkeypatch.setattr(console, "WIDTH", 1000)
    tables()[name]()
    assert words <= widths_and_words(capsys.readouterr().out)[1]


def test_lines_are_broken_between_words_on_a_terminal_only(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "Best match first: how likely you are to like each movie, and its predicted stars."
    console.say(line)
    progress_module.note(line)
    assert capsys.readouterr() == (f"{line}\n", f"{line}\n")
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "40", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    console.say(line)
    progress_module.note(line)
    for text in capsys.readouterr():
        assert " ".join(text.split()) == line
        assert max(map(len, text.splitlines())) <= 40
        assert len(text.splitlines()) == 3


def test_the_names_of_the_orders_are_not_broken(capsys: Captured) -> None:
    names = ("order best", "order less-known", "popularity penalty 0.3")
    console.show_list_measures(dict.fromkeys((*names, "default"), dict.fromkeys(MEASURES, 0.25)))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:24].rstrip() for line in lines if "0.250" in line] == ["order best (default)", *names[1:]]


def test_columns_that_do_not_fit_are_left_out_by_rank_and_named(capsys: Captured) -> None:
    header, row = ["", "first", "second", "third"], ["name", "x" * 20, "y" * 30, "z" * 40]
    console.show_table("Title", header, [row], spare=(2, 1))
    out = capsys.readouterr().out
    assert cells(out) == [["Title"], ["first", "third"], ["name", row[1], row[3]], ["not shown at this width: second"]]
    console.show_table("Title", header, [row], spare=(1, 2, 3))
    assert "not shown" in capsys.readouterr().out
    console.show_table("Title", header, [["name", "x", "y", "z"]], spare=(2, 1))
    assert "not shown" not in capsys.readouterr().out


def test_a_terminal_shows_what_fits_it(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    measures: dict[str, float | None] = dict.fromkeys(MEASURES, 0.25)
    console.show_list_measures({"order rank": measures, "default": {}})
    assert "novelty" in capsys.readouterr().out
