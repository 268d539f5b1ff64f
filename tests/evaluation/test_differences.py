"""How two models differ, against models whose differences are known."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from reelgraph.artifact import Artifact
from reelgraph.evaluation.differences import compare, distance, holm
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit
from tests.support.worlds import checkerboard, settings


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return fit(checkerboard(), settings(max_steps=8)).artifact


def changed(artifact: Artifact, **manifest: object) -> Artifact:
    return replace(artifact, manifest=artifact.manifest | manifest)


def test_a_model_does_not_differ_from_itself(artifact: Artifact) -> None:
    found = compare(Recommender(artifact), Recommender(changed(artifact, created="another day")))
    assert found.same_result
    assert (found.data, found.settings, found.versions, found.metrics, found.weights) == ({}, {}, {}, {}, {})
    assert found.distance is not None
    assert (found.distance.prediction, found.distance.overlap) == (0.0, 1.0)


def test_differences_are_named_with_both_values(artifact: Artifact) -> None:
    inputs = {"ratings": {"path": "/elsewhere/ratings.csv", "sha256": "other"}}
    other = changed(
        artifact,
        config=artifact.manifest["config"] | {"dim": 5},
        libraries=artifact.manifest["libraries"] | {"numpy": "0.1"},
        data=artifact.manifest["data"] | {"inputs": inputs},
    )
    found = compare(Recommender(artifact), Recommender(other))
    assert found.settings == {"config.dim": (4, 5)}
    assert found.versions == {"libraries.numpy": (np.__version__, "0.1")}
    assert found.data == {"data.inputs.ratings.sha256": (None, "other")}
    assert found.same_result


def test_weights_that_differ_are_measured(artifact: Artifact) -> None:
    name, array = "item.state", artifact.weights["item.state"].copy()
    array[0, 0] += 0.25
    found = compare(Recommender(artifact), Recommender(replace(artifact, weights=artifact.weights | {name: array})))
    assert found.weights == {name: pytest.approx(0.25)}
    assert not found.same_result
    assert found.distance is not None
    assert found.distance.prediction > 0


def test_shared_movies_are_counted_over_the_longer_list(artifact: Artifact) -> None:
    """A model that has seen all but three movies of a user lists these; the other model lists ten."""
    one = Recommender(artifact)
    user, movies = artifact.ratings.user_index, np.arange(len(one.items), dtype=np.int32)
    ten = one.list_indices(np.arange(len(one.users), dtype=np.int32), k=10)
    seen = [(u, m) for u in range(len(one.users)) for m in movies.tolist() if m not in ten[u][:3]]
    rated = pa.table({
        "user_index": pa.array([u for u, _ in seen], pa.int32()),
        "item_index": pa.array([m for _, m in seen], pa.int32()),
        "rating": pa.array(np.full(len(seen), 3.0, np.float32)),
    })  # fmt: skip
    assert len(np.unique(user)) == len(one.users)
    lengths = (ten >= 0).sum(axis=1)
    shared = np.minimum(lengths, 3)[lengths > 0] / lengths[lengths > 0]
    found = distance(one, Recommender(replace(artifact, seen=rated)))
    assert found is not None
    assert found.overlap == pytest.approx((shared.sum() + (lengths == 0).sum()) / len(lengths))


def test_models_without_a_common_user_have_no_distance(artifact: Artifact) -> None:
    strangers = pa.table({"userId": [f"stranger {row}" for row in range(artifact.users.num_rows)]})
    found = compare(Recommender(artifact), Recommender(replace(artifact, users=strangers)))
    assert found.distance is None


def test_chances_of_tests_together_are_adjusted_by_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9, 0.5]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_of_many_fair_tests_holm_rarely_calls_any_worse() -> None:
    rng = np.random.default_rng(0)
    fair = [min(holm(rng.uniform(size=34).tolist())) < 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(fair) < 0.07
    assert holm([0.001, *rng.uniform(size=33)])[0] < 0.05
