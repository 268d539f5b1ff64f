"""The fit of the ranking head, and the weight of predicted ratings in lists."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reelgraph.arrays import Floats, Indices
from reelgraph.config import RANKING, TrainConfig
from reelgraph.data.dataset import Dataset
from reelgraph.metrics.ranking import Score, user_ndcg
from reelgraph.models import RankingModel
from reelgraph.training.runner import Run, Runner
from reelgraph.training.tuning import SURE, search

# Weights of the standardised predicted rating, which is added to the ranking score. `BLEND` had the best validation
# nDCG@10 over seeds on ML-100K; another weight must be significantly better.
BLENDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
BLEND = 0.4


@dataclass(frozen=True)
class RankingHead:
    """A ranking head fitted to the training ratings."""

    run: Run  # with the settings that were chosen
    model: RankingModel | None  # with all users; None in processes other than rank 0
    facts: dict[str, Any]  # its entry in the manifest
    history: list[dict[str, Any]]
    interrupted: bool
    fixed: bool  # whether the user gave the L2 strength

    @property
    def chosen(self) -> dict[str, Any]:
        """The chosen settings by their names in `TrainConfig`."""
        config = self.run.config
        chosen = {f"rank_{name}": getattr(config, name) for name in RANKING if name != "max_steps"}
        return chosen | {"temperature": config.temperature}

    def refit(self, runner: Runner) -> Run:
        """Fit again on training and validation ratings, with the chosen settings and steps."""
        return runner.refit(self.run, rescale=not self.fixed)


def fit_ranking_head(
    runner: Runner, config: TrainConfig, given: frozenset[str], stars: Callable[[Indices], Floats] | None
) -> RankingHead | None:
    """Fit the ranking head with the settings that rank the validation ratings best; None if nothing is liked.

    The user gave the settings in `given`. For user indices, `stars` gives the standardised predictions of all movies by
    a rating model fitted without the validation ratings; it is None without one and in processes other than rank 0.
    """
    data, liked = runner.runs.data, runner.runs.data.liked
    if not (data.train.rating >= liked).any():
        return None
    fixed = frozenset(name.removeprefix("rank_") for name in given if name.startswith("rank_") or name == "temperature")
    tuned = search(runner, config.for_ranking(len(data.train)), fixed)
    run, blend, ndcg = tuned.run, 0.0, None
    model = runner.whole(run)
    if model is not None and stars is not None:
        blend, ndcg = choose_blend(model, data, stars)
    facts = {
        "liked": liked,
        "steps": run.steps,
        "blend": blend,
        "valid_ndcg": ndcg,
        "tuning": [asdict(trial) for trial in tuned.trials],
    }
    history = [{"phase": "rank fit"} | row for row in run.history]
    return RankingHead(run, model, facts, history, tuned.interrupted, "l2" in fixed)


def score_of(model: RankingModel) -> Score:
    """A function of user indices that gives their ranking scores of all movies."""
    user, item, bias = (array.numpy(force=True) for array in model.scores())
    return lambda users: user[users] @ item.T + bias


def choose_blend(
    model: RankingModel, data: Dataset, stars: Callable[[Indices], Floats]
) -> tuple[float, dict[str, float] | None]:
    """The weight of predicted ratings in lists, and validation nDCG at 10 with ranking scores, ratings and both.

    The weight is `BLEND` unless the best of `BLENDS` is better by more than `SURE` standard errors.
    """
    rank, ndcgs = score_of(model), {}
    for weight in BLENDS:

        def score(users: Indices, weight: float = weight) -> Floats:
            return rank(users) + weight * stars(users) if weight else rank(users)

        by_user = user_ndcg(score, data.train, data.valid, len(data.items), data.scale[1])
        if not len(by_user):
            return BLEND, None
        ndcgs[weight] = by_user
    best = max(ndcgs, key=lambda weight: (ndcgs[weight].mean(), -weight))
    gain = ndcgs[best] - ndcgs[BLEND]
    if gain.mean() <= SURE * gain.std() / np.sqrt(len(gain)):
        best = BLEND
    alone = user_ndcg(stars, data.train, data.valid, len(data.items), data.scale[1])
    return best, {"rank": float(ndcgs[0.0].mean()), "blend": float(ndcgs[best].mean()), "stars": float(alone.mean())}
