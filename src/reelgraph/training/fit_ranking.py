"""The fit of the ranking head, and the weights of predicted ratings and of popularity in lists."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reelgraph.arrays import Floats, Indices
from reelgraph.config import RANKING, TrainConfig
from reelgraph.data.dataset import Dataset
from reelgraph.metrics.ranking import Score, evaluate_ranking, user_ndcg
from reelgraph.models import RankingModel
from reelgraph.training.runner import Run, Runner
from reelgraph.training.tuning import SURE, Search, search

# Weights of the standardised predicted rating, which is added to the ranking score. `BLEND` had the best validation
# nDCG@10 over seeds on ML-100K; another weight must be significantly better.
BLENDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
BLEND = 0.4

# Strengths of the damping: how many times log(1 + ratings of the movie) is subtracted from the score. For each order,
# of those that cost at most this share of the validation nDCG@10, the one whose lists cover most movies is taken.
DAMPINGS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COSTS = {"best": 0.01, "less_known": 0.2}
DAMPED_USERS = 5000  # users whose lists are compared


@dataclass(frozen=True)
class RankingHead:
    """A ranking head fitted to the training ratings."""

    run: Run  # with the settings that were chosen
    model: RankingModel | None  # with all users; None in processes other than rank 0
    facts: dict[str, Any]  # its entry in the manifest
    history: list[dict[str, Any]]

    @property
    def chosen(self) -> dict[str, Any]:
        """The chosen settings by their names in `TrainConfig`."""
        config = self.run.config
        chosen = {f"rank_{name}": getattr(config, name) for name in RANKING if name != "max_steps"}
        return chosen | {"temperature": config.temperature}


def search_head(runner: Runner, config: TrainConfig) -> Search | None:
    """Fit the ranking head with the settings that rank the validation ratings best; None if nothing is liked."""
    data = runner.runs.data
    if not (data.train.rating >= data.liked).any():
        return None
    return search(runner, config.for_ranking(len(data.train)), fixed_settings(config))


def refit_head(runner: Runner, tuned: Search, config: TrainConfig) -> Run:
    """Fit again on training and validation ratings, with the chosen settings and steps."""
    return runner.refit(tuned.run, rescale="l2" not in fixed_settings(config))


def fixed_settings(config: TrainConfig) -> frozenset[str]:
    """The settings of the ranking head that the user gave, by their names in its own settings."""
    own = (name for name in config.given if name.startswith("rank_") or name == "temperature")
    return frozenset(name.removeprefix("rank_") for name in own)


def blend_head(runner: Runner, tuned: Search, stars: Callable[[Indices], Floats] | None) -> RankingHead:
    """Choose the weights of predicted ratings and of popularity in the lists of a fitted head.

    For user indices, `stars` gives the standardised predictions of all movies by a rating model fitted without the
    validation ratings; it is None without one and in processes other than rank 0.
    """
    data, run, blend, ndcg, damping = runner.runs.data, tuned.run, 0.0, None, None
    model = runner.whole(run)
    if model is not None:
        rank = remembered(score_of(model))
        if stars is not None:
            stars = remembered(stars)
            blend, ndcg = choose_blend(rank, data, stars)
        damping = choose_damping(remembered(blended(rank, stars, blend)), data)
    facts = {
        "liked": data.liked,
        "steps": run.steps,
        "blend": blend,
        "valid_ndcg": ndcg,
        "damping": damping,
        "tuning": [asdict(trial) for trial in tuned.trials],
    }
    return RankingHead(run, model, facts, [{"phase": "rank fit"} | row for row in run.history])


def score_of(model: RankingModel) -> Score:
    """A function of user indices that gives their ranking scores of all movies."""
    user, item, bias = (array.numpy(force=True) for array in model.scores())
    return lambda users: user[users] @ item.T + bias


def blended(rank: Score, stars: Score | None, weight: float) -> Score:
    """Ranking scores plus weighted predictions."""
    return rank if stars is None or not weight else lambda users: rank(users) + weight * stars(users)


def remembered(score: Score) -> Score:
    """The scores, computed once as long as the same users are asked for again: small data have one block of users."""
    last: list[Any] = [None, None]

    def score_again(users: Indices) -> Floats:
        asked = users.tobytes()
        if asked != last[0]:
            last[:] = asked, score(users)
        return np.asarray(last[1])

    return score_again


def choose_damping(score: Score, data: Dataset) -> dict[str, Any] | None:
    """The damping of each of `COSTS`, and validation nDCG at 10 and coverage of all strengths; None without any."""
    valid, log_count = data.valid, np.log1p(np.bincount(data.train.item_index, minlength=len(data.items)))
    users = np.unique(valid.user_index)
    if len(users) > DAMPED_USERS:
        some = users[np.linspace(0, len(users) - 1, DAMPED_USERS).astype(np.int64)]
        valid = valid.take(np.isin(valid.user_index, some))
    measures = {}
    for strength in DAMPINGS:

        def damped(users: Indices, strength: float = strength) -> Floats:
            return np.asarray(score(users) - strength * log_count)

        report = evaluate_ranking(damped, data.train, valid, len(data.items), data.scale[1])
        if not report.users:
            return None
        measures[strength] = {"ndcg": report.ndcg, "coverage": report.coverage}
    chosen = {}
    for name, cost in COSTS.items():
        least = (1 - cost) * measures[0.0]["ndcg"]
        possible = [strength for strength in DAMPINGS if measures[strength]["ndcg"] >= least]
        chosen[name] = max(possible, key=lambda strength: (measures[strength]["coverage"], -strength))
    return chosen | {"valid": {str(strength): measures[strength] for strength in DAMPINGS}}


def choose_blend(rank: Score, data: Dataset, stars: Score) -> tuple[float, dict[str, float] | None]:
    """The weight of predicted ratings in lists, and validation nDCG at 10 with ranking scores, ratings and both.

    The weight is `BLEND` unless the best of `BLENDS` is better by more than `SURE` standard errors.
    """
    ndcgs = {}
    for weight in BLENDS:
        by_user = user_ndcg(blended(rank, stars, weight), data.train, data.valid, len(data.items), data.scale[1])
        if not len(by_user):
            return BLEND, None
        ndcgs[weight] = by_user
    best = max(ndcgs, key=lambda weight: (ndcgs[weight].mean(), -weight))
    gain = ndcgs[best] - ndcgs[BLEND]
    if gain.mean() <= SURE * gain.std() / np.sqrt(len(gain)):
        best = BLEND
    alone = user_ndcg(stars, data.train, data.valid, len(data.items), data.scale[1])
    return best, {"rank": float(ndcgs[0.0].mean()), "blend": float(ndcgs[best].mean()), "stars": float(alone.mean())}
