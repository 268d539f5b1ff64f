"""The fit of the ranking head."""

import numpy as np
import pytest

from reelgraph.config import TrainConfig, rank_l2_rule
from reelgraph.data.dataset import Dataset
from reelgraph.metrics.ranking import evaluate_ranking
from reelgraph.recommend.recommender import Recommender
from reelgraph.training import fit_ranking
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, dataset, interactions, settings

QUICK = {"ranking": True, "max_steps": 40, "rank_max_steps": 60, "rank_dim": 6}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return checkerboard()


@pytest.fixture(scope="module")
def model(data: Dataset) -> Recommender:
    return fit(data, settings(tune="none", **QUICK))


def test_the_head_learns_what_each_camp_likes(data: Dataset, model: Recommender) -> None:
    assert model.ranker is not None
    score = model.ranker.score(model.ranker.users(np.arange(40, dtype=np.int32)))
    camps = np.add.outer(np.arange(40), np.arange(30)) % 2 == 0
    assert np.mean([score[user][camps[user]].min() > score[user][~camps[user]].max() for user in range(40)]) > 0.9


def test_the_manifest_describes_the_ranking_head(data: Dataset, model: Recommender) -> None:
    manifest, facts = model.artifact.manifest, model.artifact.manifest["ranking"]
    assert facts["liked"] == 4.0
    assert 0 < facts["steps"] <= 60
    assert facts["blend"] in fit_ranking.BLENDS
    assert facts["tuning"][0]["change"] == "start"
    assert manifest["config"]["rank_dim"] == 6
    assert manifest["config"]["rank_l2"] == pytest.approx(rank_l2_rule(len(data.train)), rel=0.3)
    phases = [row["phase"] for row in model.artifact.history]
    assert set(phases) == {"fit", "rank fit"}


def test_rating_predictions_do_not_change_with_the_head(data: Dataset, model: Recommender) -> None:
    alone = fit(data, settings(tune="none", **(QUICK | {"ranking": False})))
    assert alone.artifact.manifest["ranking"] is None
    assert not any(name.startswith("rank.") for name in alone.artifact.weights)
    for name, array in alone.artifact.weights.items():
        assert array.tobytes() == model.artifact.weights[name].tobytes(), name


def test_weights_of_the_head_depend_on_the_seed_alone(data: Dataset, model: Recommender) -> None:
    again, other = (fit(data, settings(tune="none", seed=seed, **QUICK)).artifact for seed in (0, 1))
    for name, array in model.artifact.weights.items():
        assert array.tobytes() == again.weights[name].tobytes(), name
    assert other.weights["rank.item.state"].tobytes() != model.artifact.weights["rank.item.state"].tobytes()


def test_the_head_stops_by_validation_ndcg(data: Dataset) -> None:
    """Without a refit, the head has the latest weights whose validation nDCG none clearly beats."""
    model = fit(data, settings(tune="none", refit=False, **QUICK))
    rows = [row for row in model.artifact.history if row["phase"] == "rank fit"]
    lowest = min(1 - row["valid_ndcg"] for row in rows)
    *_, best = [row for row in rows if 1 - row["valid_ndcg"] <= 1.0005 * lowest]
    facts = model.artifact.manifest["ranking"]
    assert facts["steps"] == best["step"]
    assert model.ranker is not None
    report = evaluate_ranking(
        lambda users: model.ranker.score(model.ranker.users(users)),  # type: ignore[union-attr]
        data.train, data.valid, len(data.items), 5.0,
    )  # fmt: skip
    assert report.ndcg == pytest.approx(best["valid_ndcg"], abs=1e-6)
    assert facts["valid_ndcg"]["rank"] == pytest.approx(best["valid_ndcg"], abs=1e-6)


def test_the_full_search_changes_settings_of_the_head_but_not_given_ones(data: Dataset) -> None:
    config = {"max_steps": 10, "rank_max_steps": 20, "rank_dim": 6, "dim": 4, "eval_every": 5, "temperature": 0.37}
    model = fit(data, TrainConfig.model_validate(config | {"tune": "full"}))
    changes = [trial["change"] for trial in model.artifact.manifest["ranking"]["tuning"]]
    assert any(change.startswith("l2 ") for change in changes)
    assert not any(change.startswith("temperature") for change in changes)
    assert model.artifact.manifest["config"]["temperature"] == 0.37


def test_there_is_no_head_without_liked_ratings() -> None:
    few = interactions([0, 0, 1, 1], [0, 1, 0, 1], [2, 1, 1, 3])
    model = fit(dataset(few, interactions([], [], []), interactions([], [], []), 2, 2), settings(ranking=True))
    assert model.artifact.manifest["ranking"] is None
    assert len(model.recommend("u0", k=2, include_seen=True)) == 2


def test_one_liked_rating_is_enough() -> None:
    few = interactions([0, 0, 1, 1], [0, 1, 0, 1], [2, 1, 1, 5])
    model = fit(dataset(few, interactions([], [], []), interactions([], [], []), 2, 2), settings(ranking=True))
    assert model.ranker is not None
    assert np.isfinite(model.scores(np.asarray([0, 1], np.int32))).all()


def test_the_blend_is_the_best_on_validation(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Perfect predicted ratings get a weight, their opposite gets none."""
    from reelgraph.models import RankingModel  # noqa: PLC0415
    from reelgraph.training.runner import Runner  # noqa: PLC0415
    from reelgraph.training.runs import RankingRuns  # noqa: PLC0415

    runner = Runner(RankingRuns(data), lambda *_: None)
    run = runner.fit("rank fit", settings(tune="none", **QUICK).for_ranking(len(data.train)))
    assert isinstance(run.model, RankingModel)
    with np.errstate(all="ignore"):
        for parameter in run.model.parameters():
            parameter.data.normal_(0, 1e-3)
    noise = fit_ranking.score_of(run.model)
    liked = np.zeros((40, 30), np.float32)
    rows = data.valid.rating >= 4
    liked[data.valid.user_index[rows], data.valid.item_index[rows]] = 10
    for sign, blend in ((1, True), (-1, False)):
        weight, ndcg = fit_ranking.choose_blend(noise, data, lambda users, sign=sign: sign * liked[users])  # type: ignore[misc]
        assert (weight > 0) == blend
        assert ndcg is not None
        assert ndcg["blend"] >= ndcg["rank"]
