"""The measures of a model in one line, and warnings about a model that is no better than its baselines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reelgraph.metrics.labels import PREDICTORS

_MODELS = {"model", "untimed"}  # predictors that are no baseline
_SPLITS = {"test": "test", "valid": "validation"}  # the first one that was measured is reported


@dataclass(frozen=True)
class Verdict:
    """What to tell a user about a model."""

    line: str  # empty where nothing was measured
    warnings: tuple[str, ...]


def verdict(metrics: Mapping[str, Mapping[str, Any]], analysis: Mapping[str, Any] | None) -> Verdict:
    """Sum up measures as the manifest of a model holds them.

    Args:
        metrics: measures by split and then by predictor.
        analysis: measures of lists and the coverage of intervals.
    """
    analysis = analysis or {}
    parts, warnings = [], []
    split = next((split for split in _SPLITS if "rmse" in metrics.get(split, {}).get("model", {})), None)
    if split is not None:
        rows = {name: row["rmse"] for name, row in metrics[split].items()}
        text, warning = _errors(rows)
        parts.append(f"{_SPLITS[split]} {text}")
        warnings += warning
    lists = analysis.get("lists") or {}
    if "default" in lists:
        text, warning = _lists(lists["default"]["ndcg"], (lists.get("popularity") or {}).get("ndcg"))
        parts.append(f"lists: {text}")
        warnings += warning
    if interval := analysis.get("interval"):
        parts.append(f"{interval['level']:.0%} intervals hold {interval['coverage']:.1%}".replace("%", " %"))
    line = "; ".join(parts)
    return Verdict(line[:1].upper() + line[1:], tuple(warnings))


def _errors(rmse: Mapping[str, float]) -> tuple[str, list[str]]:
    own, baselines = rmse["model"], {name: value for name, value in rmse.items() if name not in _MODELS}
    text = f"RMSE {own:.4f}"
    if not baselines or own != own:  # noqa: PLR0124 (NaN without ratings)
        return text, []
    best = min(baselines, key=baselines.__getitem__)
    change = own / baselines[best] - 1
    text += f": {abs(change):.0%}".replace("%", " %") + f" {'below' if change < 0 else 'above'} {PREDICTORS[best]}"
    if change < 0:
        return text, []
    return text, [
        f"this model predicts no better than {PREDICTORS[best]} (RMSE {own:.4f} against {baselines[best]:.4f}); "
        "train on more ratings, or with --tune full"
    ]


def _lists(ndcg: float | None, popularity: float | None) -> tuple[str, list[str]]:
    if ndcg is None:
        return "no user with a liked test movie", []
    text = f"nDCG@10 {ndcg:.3f}"
    if popularity is None:
        return text, []
    text += f" (popularity {popularity:.3f})"
    if ndcg > popularity:
        return text, []
    return text, [
        f"the lists of this model are no better than popularity (nDCG@10 {ndcg:.3f} against {popularity:.3f}); "
        "train on more ratings, or with --ranking"
    ]
