"""Paired tests with known answers."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reelgraph.bench.paired import USERS, UserErrors, adjust, compare_methods, difference

RANDOM = np.random.default_rng(0)
IDS = np.asarray([f"u{place}" for place in range(50)])
ONE, OTHER = RANDOM.gamma(2.0, size=(2, 50))


def errors(squared: np.ndarray, ratings: int = 1, ids: np.ndarray = IDS) -> UserErrors:
    ndcg = np.where(squared < 0.5, np.nan, squared / 10)
    return UserErrors(ids, np.full(len(ids), ratings), squared, ndcg, ndcg / 2)


def test_with_one_rating_a_user_it_is_the_paired_t_test() -> None:
    found = difference([(errors(ONE), errors(OTHER))], "rmse")
    assert found is not None
    known = stats.ttest_rel(ONE, OTHER)
    assert found["p"] == pytest.approx(known.pvalue)
    assert found["difference"] == pytest.approx(np.sqrt(ONE.mean()) - np.sqrt(OTHER.mean()))
    interval = known.confidence_interval()
    unit = np.sqrt(ONE.mean()) + np.sqrt(OTHER.mean())
    assert 2 * found["half"] * unit == pytest.approx(interval.high - interval.low)


def test_repeated_seeds_are_no_new_evidence() -> None:
    pair = errors(ONE), errors(OTHER)
    once, thrice = difference([pair], "rmse"), difference([pair] * 3, "rmse")
    assert once is not None
    assert thrice is not None
    assert thrice["p"] == pytest.approx(once["p"])
    assert thrice["half"] == pytest.approx(once["half"])
    assert (once["runs"], thrice["runs"], thrice["users"]) == (1, 3, 50)


def test_folds_have_their_own_users() -> None:
    halves = [slice(0, 20), slice(20, 50)]
    pairs = [(errors(ONE[half], ids=IDS[half]), errors(OTHER[half], ids=IDS[half])) for half in halves]
    assert difference(pairs, "rmse") == difference([(errors(ONE), errors(OTHER))], "rmse") | {"runs": 2}  # type: ignore[operator]


def test_lists_count_for_users_who_have_them() -> None:
    found, recall = (difference([(errors(ONE), errors(OTHER))], measure) for measure in ("ndcg", "recall"))
    assert found is not None
    assert recall is not None
    assert recall["difference"] == pytest.approx(found["difference"] / 2)
    both = (ONE >= 0.5) & (OTHER >= 0.5)
    assert found["users"] == both.sum()
    assert found["difference"] == pytest.approx((ONE - OTHER)[both].mean() / 10)
    assert found["p"] == pytest.approx(stats.ttest_rel(ONE[both], OTHER[both]).pvalue)


def test_nothing_in_common_has_no_difference() -> None:
    nothing = errors(np.full(50, np.nan))
    assert difference([(errors(ONE), nothing)], "rmse") is None
    same = difference([(errors(ONE), errors(ONE))], "rmse")
    assert same is not None
    assert (same["difference"], same["p"]) == (0.0, 1.0)


def test_p_values_are_adjusted_by_holm() -> None:
    given = [0.01, 0.04, 0.03, 0.005]
    rows = [{"dataset": "d", "measure": "rmse", "method": place, "p": p} for place, p in enumerate(given)]
    other = {"dataset": "d", "measure": "ndcg", "method": 9, "p": 0.02}
    found = {row["method"]: row["p_holm"] for row in adjust([*rows, other])}
    assert found == pytest.approx({0: 0.03, 1: 0.06, 2: 0.06, 3: 0.02, 9: 0.02})


def test_methods_are_compared_with_each_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / USERS
    folder.mkdir()
    runs = []
    for method, squared in (("residual", ONE), ("residual-ratings-only", ONE + 0.1), ("svd", OTHER)):
        errors(squared).write(folder / f"{method}.npz")
        base = {"dataset": "d", "part": "d", "method": method, "seed": 0, "error": None}
        runs.append(base | {"users": f"{method}.npz"})
    assert compare_methods([runs[0], runs[2] | {"seed": 1}], folder) == [], "no run in common"
    found = compare_methods([*runs, runs[2] | {"seed": 1}], folder)
    pairs = [(row["method"], row["own"]) for row in found if row["measure"] == "rmse"]
    assert sorted(pairs) == [
        ("residual-ratings-only", "residual"), ("svd", "residual"), ("svd", "residual-ratings-only")
    ]  # fmt: skip
    (folder / "svd.npz").unlink()
    kept = compare_methods(runs, folder, found)
    assert sorted(row["method"] for row in kept) == sorted(row["method"] for row in found), "known from before"
    assert {row["method"] for row in compare_methods(runs, folder)} == {"residual-ratings-only"}


def test_errors_of_an_older_version_have_no_recall(tmp_path: Path) -> None:
    found = errors(ONE)._asdict()
    found.pop("recall")
    np.savez(tmp_path / "old.npz", **found)
    old = UserErrors.read(tmp_path / "old.npz")
    assert (old.ndcg[ONE >= 0.5] == found["ndcg"][ONE >= 0.5]).all()
    assert difference([(old, errors(OTHER))], "recall") is None
    assert difference([(old, errors(OTHER))], "ndcg") is not None
