"""Users and movies held out, against what is known of the checkerboard."""

import numpy as np
import pytest

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.data.load import load
from reelgraph.evaluation.cold_start import REVEALED, ColdReport, evaluate_cold
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, dataset, interactions, settings, write_files

CONFIG = settings(ranking=True, max_steps=60, rank_max_steps=40, rank_dim=6)


def judged() -> tuple[ColdReport, list[Interactions], list[Recommender]]:
    """The report on the checkerboard, and the fits behind it."""
    trained: list[Interactions] = []
    models: list[Recommender] = []

    def spy(data: Dataset, config: TrainConfig) -> Recommender:
        trained.append(merge(data.train, data.valid))
        models.append(fit(data, config))
        return models[-1]

    report = evaluate_cold(checkerboard(users=50), spy, CONFIG)
    assert report is not None
    return report, trained, models


def test_a_few_ratings_tell_the_camp() -> None:
    report, trained, _ = judged()
    assert [point.revealed for point in report.curve] == list(REVEALED)
    assert report.users == 10, "a fifth"
    assert report.ratings == 10 * (30 - 20), "all after the first 20"
    users = set(trained[0].user_index.tolist())
    assert len(users) == 40, "the held out are no part of the fit"
    nothing, one, *_, most = report.curve
    assert nothing.rmse == pytest.approx(nothing.bias_rmse, abs=0.15), "nothing is known of anybody"
    assert one.rmse < one.bias_rmse, "one rating tells the camp, which biases know nothing of"
    assert most.rmse < 0.6 < most.bias_rmse
    assert most.ndcg > nothing.ndcg
    assert most.ndcg > 0.9


def test_the_numbers_are_those_of_visitors() -> None:
    report, trained, models = judged()
    model, held = models[0], set(range(50)) - set(trained[0].user_index.tolist())
    zero = model.recommend(ratings={}, k=30)
    prediction = {line.movie.movie_id: line.prediction for line in zero}
    errors = []
    whole = checkerboard(users=50)
    every = merge(merge(whole.train, whole.valid), whole.test)
    for user, item, rating in zip(every.user_index, every.item_index, every.rating, strict=True):
        if int(user) in held:
            errors.append(prediction[f"m{item}"] - rating)
    # All of their ratings, not only those after the first 20: with 10 of 30 judged, nearly the same.
    assert report.curve[0].rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=0.1)


def test_movies_without_side_features_are_not_judged() -> None:
    assert judged()[0].movies is None


def test_new_movies_are_predicted_from_their_genres(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_files(tmp_path_factory.mktemp("cold"), users=120, items=120)
    data = load(folder / "ratings.csv", items=folder / "movies.csv")
    report = evaluate_cold(data, fit, settings(ranking=True, max_steps=80, rank_max_steps=60, rank_dim=8, dim=8))
    assert report is not None
    assert report.movies is not None
    assert report.movies["movies"] == 12
    assert report.movies["rmse"] < report.movies["bias_rmse"], "tastes are for genres, and genres are known"
    assert report.movies["ndcg"] > report.movies["random_ndcg"]
    assert report.to_json()["curve"][0]["revealed"] == 0


def test_nothing_to_judge_is_said() -> None:
    few = interactions([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    nothing = interactions([], [], [])
    assert evaluate_cold(dataset(few, nothing, nothing, 2, 2), fit, CONFIG) is None
