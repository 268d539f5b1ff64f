"""Which movies a visitor is asked about."""

from pathlib import Path

import numpy as np
import pytest

import reelgraph as rg
from reelgraph.errors import ConfigError, DataError, UnknownIdError
from reelgraph.recommend.asking import SHRINKAGE, VARIETY, choose_questions, usefulness_of
from reelgraph.recommend.recommender import Recommender, open_model
from tests.support.worlds import views


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Recommender:
    return open_model(model_dir)


def test_usefulness_is_the_error_that_one_answer_removes(model: Recommender) -> None:
    predictor, item = model.predictor, 17
    before, total = model.scorer.score(model.visitor().person.state)[0], 0.0
    raters, _ = predictor.raters(item)
    for user in raters.tolist():
        items, stars = predictor.seen(user)
        own = float(stars[items == item][0])
        after = model.scorer.score(model.visitor({model.items.id(item): own}).person.state)[0]
        others = items[items != item]
        truth = predictor.standardise(stars[items != item])
        total += ((truth - before[others]) ** 2 - (truth - after[others]) ** 2).mean()
    expected = max(total / (len(raters) + SHRINKAGE), 0)
    assert usefulness_of(predictor)[item] == pytest.approx(expected, abs=1e-5)


def test_questions_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    useful, known, states = rng.random(30), rng.random(30), rng.normal(size=(30, 4)).astype(np.float32)
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    rated, left = [3, 8], [item for item in range(30) if item not in (3, 8, 11)]
    expected: list[int] = []
    while len(expected) < 6:
        values = {}
        for item in set(left) - set(expected):
            near = max(0.0, *(float(states[item] @ states[other]) for other in [*rated, *expected]))
            values[item] = useful[item] * known[item] ** 0.5 * (1 - known[item]) * (1 - VARIETY * near)
        expected.append(max(values, key=lambda item: values[item]))
    assert choose_questions(useful, known, states, np.asarray(rated), np.asarray(left), 6) == expected
    assert sorted(choose_questions(useful, known, states, np.asarray(rated), np.asarray(left), 99)) == left


def test_nobody_is_asked_twice(model: Recommender) -> None:
    ids, asked, rated = set(model.items.ids.to_pylist()), list[str](), dict[str, float]()
    while row := model.ask(rated, k=9, deny=asked):
        found = [movie.movie_id for movie in row]
        assert not set(found) & ({*asked} | {*rated})
        asked += found
        rated |= {found[0]: 4.0}
    assert set(asked) == ids
    assert model.ask(k=3) == model.ask({}, k=3) == model.ask(k=9)[:3]


def test_answers_change_the_next_questions(model: Recommender) -> None:
    first = [movie.movie_id for movie in model.ask(k=10)]
    after = [movie.movie_id for movie in model.ask({first[-1]: 5.0}, k=9)]
    assert after != first[:9], "movies like the one rated are asked about later"


def test_answers_to_questions_say_more_than_answers_about_rare_movies(model: Recommender) -> None:
    """Users of the model as visitors: the error of their other ratings after three answers."""

    def error(order: list[int]) -> float:
        errors = []
        for user in range(len(model.users)):
            items, stars = model.predictor.seen(user)
            own = dict(zip(items.tolist(), stars.tolist(), strict=True))
            answers = [item for item in order if item in own][:3]
            visitor = model.visitor({model.items.id(item): own[item] for item in answers})
            others = [item for item in own if item not in answers]
            errors.append((visitor.predict()[others] - np.asarray([own[item] for item in others])) ** 2)
        return float(np.concatenate(errors).mean())

    asked = [model.items.index(movie.movie_id) for movie in model.ask(k=len(model.items))]
    assert error(asked) < error(asked[::-1])


def test_models_of_every_kind_ask(tables: Path) -> None:
    data = rg.load(tables / "ratings.csv")
    for other in (
        rg.fit(data, model="gcn", ranking=False, max_steps=2, tune="none", eval_every=1),
        rg.fit(rg.load(views(), implicit=True), tune="none", rank_dim=8, rank_max_steps=10),
    ):
        assert len({movie.movie_id for movie in other.ask(k=5)}) == 5


def test_wrong_questions(model: Recommender) -> None:
    with pytest.raises(ConfigError, match="k: expected 1 to 80"):
        model.ask(k=0)
    with pytest.raises(UnknownIdError):
        model.ask({"zz": 4.0})
    with pytest.raises(DataError):
        model.ask({model.items.id(0): 9.0})
