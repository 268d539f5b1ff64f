"""Cold-start evaluation on the checkerboard, where the answers are known."""

import numpy as np
import pytest

from reelgraph.config import TrainConfig
from reelgraph.data.dataset import Dataset, Interactions, merge
from reelgraph.data.load import load
from reelgraph.evaluation.cold_start import REVEALED, ColdReport, evaluate_cold
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, dataset, interactions, settings, write_files

CONFIG = settings(ranking=True, refit=False, max_steps=60, rank_max_steps=40, rank_dim=6)


def evaluated() -> tuple[ColdReport, list[Interactions], list[Recommender]]:
    """The report, the training ratings of its fits, and the fitted models."""
    trained: list[Interactions] = []
    models: list[Recommender] = []

    def spy(data: Dataset, config: TrainConfig) -> Recommender:
        trained.append(merge(data.train, data.valid))
        models.append(fit(data, config))
        return models[-1]

    report = evaluate_cold(checkerboard(users=50), spy, CONFIG)
    assert report is not None
    return report, trained, models


def test_a_few_ratings_reveal_the_camp() -> None:
    report, trained, _ = evaluated()
    assert [point.revealed for point in report.curve] == list(REVEALED)
    assert report.users == 10, "a fifth"
    assert report.ratings == 10 * (30 - 20), "those after the first 20"
    users = set(trained[0].user_index.tolist())
    assert len(users) == 40, "held-out users take no part in the fit"
    nothing, one, *_, most = report.curve
    assert nothing.rmse == pytest.approx(nothing.bias_rmse, abs=0.15), "without ratings both know nothing"
    assert one.rmse < one.bias_rmse, "one rating reveals the camp, which biases cannot express"
    assert most.rmse < 0.6 < most.bias_rmse
    assert most.ndcg > nothing.ndcg
    assert most.ndcg > 0.9


def test_errors_without_ratings_are_those_of_a_visitor() -> None:
    report, trained, models = evaluated()
    model, held = models[0], set(range(50)) - set(trained[0].user_index.tolist())
    zero = model.recommend(ratings={}, k=30)
    prediction = {line.movie.movie_id: line.prediction for line in zero}
    errors = []
    whole = checkerboard(users=50)
    every = merge(merge(whole.train, whole.valid), whole.test)
    for user, item, rating in zip(every.user_index, every.item_index, every.rating, strict=True):
        if int(user) in held:
            errors.append(prediction[f"m{item}"] - rating)
    # Over all 30 ratings of each user, not only the last 10: nearly the same.
    assert report.curve[0].rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=0.1)


def test_movies_without_side_features_are_not_evaluated() -> None:
    assert evaluated()[0].movies is None


def test_new_movies_are_predicted_from_their_genres(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_files(tmp_path_factory.mktemp("cold"), users=120, items=120)
    data = load(folder / "ratings.csv", items=folder / "movies.csv")
    report = evaluate_cold(data, fit, settings(ranking=True, max_steps=80, rank_max_steps=60, rank_dim=8, dim=8))
    assert report is not None
    assert report.movies is not None
    assert report.movies["movies"] == 12
    assert report.movies["rmse"] < report.movies["bias_rmse"], "tastes depend on genres, and genres are known"
    assert report.movies["ndcg"] > report.movies["random_ndcg"]
    assert report.to_json()["curve"][0]["revealed"] == 0


def test_too_few_ratings_give_no_report() -> None:
    few = interactions([0, 0, 1, 1], [0, 1, 0, 1], [5, 1, 1, 5])
    nothing = interactions([], [], [])
    assert evaluate_cold(dataset(few, nothing, nothing, 2, 2), fit, CONFIG) is None
