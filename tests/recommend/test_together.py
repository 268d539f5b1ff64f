"""Lists for several people against plain loops."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reelgraph.errors import ConfigError, UnknownIdError
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.recommend.together import DAMPING, STRATEGIES, Member, Strategy, list_together

VISITOR = {"10": 5.0, "450": 1.0, "300": 4.0}
GROUP: list[Any] = ["4", "9", VISITOR]


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def relevances(model: Recommender, group: list[Any]) -> tuple[list[str], list[list[float]]]:
    """Movies that nobody has rated, and each person's relevance of them, from their own whole lists."""
    scores, seen = [], set[str]()
    for member in group:
        who: dict[str, Any] = {"user": member} if isinstance(member, str) else {"ratings": member}
        lines = model.recommend(**who, k=len(model.items), include_seen=True)
        scores.append({line.movie.movie_id: line.score for line in lines})
        person = model.person(**who)
        seen |= {model.items.id(item) for item in person.rated.tolist()}
    left = [movie for movie in model.items.ids.to_pylist() if movie not in seen]
    rows = []
    for own in scores:
        values = np.asarray([own[movie] for movie in left])
        rows.append(((values - np.median(values)) / (values.max() - np.median(values))).tolist())
    return left, rows


def expected(model: Recommender, strategy: Strategy, k: int, group: list[Any]) -> list[str]:
    left, rows = relevances(model, group)
    places = range(len(left))
    if strategy != "fair":
        of = min if strategy == "least-misery" else np.mean
        values = [float(of([row[place] for row in rows])) for place in places]
        return [left[place] for place in sorted(places, key=lambda place: -values[place])[:k]]
    received, chosen = [0.0] * len(rows), list[int]()
    for _ in range(k):
        gain = {
            place: sum(row[place] / (DAMPING + max(got, 0.0)) for got, row in zip(received, rows, strict=True))
            for place in places
            if place not in chosen
        }
        best = max(gain, key=lambda place: gain[place])
        chosen.append(best)
        received = [got + row[best] for got, row in zip(received, rows, strict=True)]
    return [left[place] for place in chosen]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_equals_a_plain_loop(model: Recommender, strategy: Strategy) -> None:
    lines = model.recommend_together(GROUP, strategy=strategy, k=8)
    assert [line.movie.movie_id for line in lines] == expected(model, strategy, 8, GROUP)
    if strategy != "fair":
        assert [line.score for line in lines] == sorted((line.score for line in lines), reverse=True)


def test_a_group_of_one_gets_their_own_list(model: Recommender) -> None:
    own = [line.movie.movie_id for line in model.recommend("4", k=12)]
    for strategy in STRATEGIES:
        assert [line.movie.movie_id for line in model.recommend_together(["4"], strategy=strategy, k=12)] == own


def test_everyone_is_told_their_own_prediction_and_reasons(model: Recommender) -> None:
    lines = model.recommend_together({"Ann": "4", "Ben": VISITOR}, k=5)
    stars = {line.movie.movie_id: line.prediction for line in model.recommend("4", k=len(model.items))}
    for line in lines:
        ann, ben = line.opinions
        assert (ann.name, ben.name) == ("Ann", "Ben")
        assert ann.prediction == pytest.approx(stars[line.movie.movie_id], abs=1e-6)
        assert line.prediction == pytest.approx((ann.prediction + ben.prediction) / 2)
        assert ann.interval is not None
        assert ann.interval[0] <= ann.prediction <= ann.interval[1]
        assert {reason.movie.movie_id for reason in ben.because} <= set(VISITOR)
        told = model.explain("4", movie=line.movie.movie_id).grounds(most=2).supporting[:2]
        assert [reason.movie for reason in ann.because] == [reason.movie for reason in told]
    assert any(opinion.because for line in lines for opinion in line.opinions)


def test_nothing_that_anyone_has_seen_unless_asked(model: Recommender) -> None:
    seen = [
        {model.items.id(item) for item in model.person(**who).rated.tolist()}
        for who in ({"user": "4"}, {"user": "9"}, {"ratings": VISITOR})
    ]
    everything = {line.movie.movie_id for line in model.recommend_together(GROUP, k=len(model.items))}
    assert everything == set(model.items.ids.to_pylist()) - set().union(*seen)
    asked = {line.movie.movie_id for line in model.recommend_together(GROUP, k=len(model.items), include_seen=True)}
    assert asked == set(model.items.ids.to_pylist())


def test_fair_lists_leave_nobody_behind(model: Recommender) -> None:
    """The least that anybody gets from a list is more than by the average, over many groups of unlike users."""
    least: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
    for first in range(0, 60, 6):
        group = [model.users.id(first), model.users.id((first + 17) % 60), model.users.id((first + 31) % 60)]
        left, rows = relevances(model, group)
        for strategy in STRATEGIES:
            movies = [line.movie.movie_id for line in model.recommend_together(group, strategy=strategy, k=6)]
            least[strategy].append(min(sum(row[left.index(movie)] for movie in movies) for row in rows))
    assert np.mean(least["fair"]) > np.mean(least["average"])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pages_add_up(model: Recommender, strategy: Strategy) -> None:
    members = [Member(user, model.person(user)) for user in ("4", "9")]
    pages = [list_together(model.lists, members, Choice(k=5), strategy, offset) for offset in (0, 5, 10)]
    whole = list_together(model.lists, members, Choice(k=15), strategy)
    assert [line for page in pages for line in page.suggestions] == whole.suggestions
    assert [page.more for page in pages] == [True, True, whole.more]
    assert not list_together(model.lists, members, Choice(k=80), strategy, 79).suggestions


def test_who_is_not_open_tells_neither_ratings_nor_digits(model: Recommender) -> None:
    members = [Member("a", model.person("4")), Member("b", model.person(ratings=VISITOR), open=False)]
    for line in list_together(model.lists, members, Choice(k=10)).suggestions:
        closed = line.opinions[1]
        assert (closed.because, closed.interval) == ((), None)
        assert closed.prediction == round(closed.prediction, 1)


def test_options_and_filters(model: Recommender) -> None:
    lines = model.recommend_together(GROUP, k=80, genre="Drama", year="1990-")
    assert lines
    assert all("Drama" in line.movie.genres and (line.movie.year or 0) >= 1990 for line in lines)
    assert not model.recommend_together(GROUP, k=80, allow=[])
    by_stars = model.recommend_together(["4"], k=5, order="stars")
    assert [line.movie for line in by_stars] == [line.movie for line in model.recommend("4", k=5, order="stars")]
    for options in ({"diversity": 0.3}, {"calibration": 0.3}, {"order": "surprise"}):
        with pytest.raises(ConfigError, match="together: expected no diversity"):
            model.recommend_together(GROUP, **options)
    with pytest.raises(ConfigError, match="strategy: expected fair, average, least-misery"):
        model.recommend_together(GROUP, strategy="loudest")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one person"):
        model.recommend_together([])
    with pytest.raises(UnknownIdError):
        model.recommend_together(["4", "nobody"])


def test_people_without_ratings_and_models_without_stars(model: Recommender, tables: Path) -> None:
    import reelgraph as rg  # noqa: PLC0415
    from tests.support.worlds import views  # noqa: PLC0415

    assert len(model.recommend_together(["4", {}], k=5)) == 5
    likes = rg.fit(rg.load(views(), implicit=True), tune="none", rank_dim=8, rank_max_steps=10)
    for line in likes.recommend_together(["u0", ["m1"]], k=3):
        assert line.prediction is None
        assert {reason.movie.movie_id for reason in line.opinions[1].because} <= {"m1"}
    gcn = rg.fit(rg.load(tables / "ratings.csv"), model="gcn", ranking=False, max_steps=2, tune="none", eval_every=1)
    assert {opinion.because for line in gcn.recommend_together(["4", "9"], k=3) for opinion in line.opinions} == {()}
