"""The result of a training or an evaluation in one line."""

from typing import Any

import pytest

from reelgraph.evaluation.verdict import verdict


def rows(**values: float) -> dict[str, dict[str, float]]:
    return {name: {"rmse": value} for name, value in values.items()}


def test_errors_lists_and_intervals_in_one_line() -> None:
    metrics = {"valid": rows(model=1.0, bias=0.5), "test": rows(mean=1.1, bias=0.95, untimed=0.88, model=0.8725)}
    analysis = {
        "lists": {"default": {"ndcg": 0.48}, "popularity": {"ndcg": 0.24}},
        "interval": {"level": 0.9, "coverage": 0.896, "mean_width": 2.0},
    }
    found = verdict(metrics, analysis)
    assert found.line == (
        "Test RMSE 0.8725: 8 % below damped biases; lists: nDCG@10 0.480 (popularity 0.240); 90 % intervals hold 89.6 %"
    )
    assert found.warnings == ()


def test_without_test_ratings_validation_counts() -> None:
    assert verdict({"valid": rows(mean=1.0, model=0.5)}, None).line == "Validation RMSE 0.5000: 50 % below mean rating"
    assert verdict({}, None) == verdict({}, {"lists": {}})
    assert verdict({}, None).line == ""


@pytest.mark.parametrize("own", [0.95, 0.96])
def test_a_model_no_better_than_the_best_baseline_is_warned_of(own: float) -> None:
    (warning,) = verdict({"test": rows(mean=1.1, bias=0.95, model=own)}, None).warnings
    assert f"no better than damped biases (RMSE {own:.4f} against 0.9500)" in warning


def test_lists_no_better_than_popularity_are_warned_of() -> None:
    lists: dict[str, Any] = {"default": {"ndcg": 0.2}, "popularity": {"ndcg": 0.2}}
    (warning,) = verdict({}, {"lists": lists}).warnings
    assert "no better than popularity" in warning
    assert verdict({}, {"lists": {"default": {"ndcg": None}}}).line == "Lists: no user with a liked test movie"
