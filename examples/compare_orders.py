"""Measure what an order of lists costs and buys: python examples/compare_orders.py RATINGS [MOVIES].

Trains without the test ratings, then measures lists in several orders on them: the best match, the predicted stars, and
lists whose movies differ.
"""

import sys

import numpy as np

import reelgraph as rg

ORDERS: dict[str, dict[str, object]] = {
    "best match": {},
    "predicted stars": {"order": "stars"},
    "varied": {"diversity": 0.3},
    "less known": {"popularity_penalty": 0.3},
}


def main(ratings: str, movies: str | None = None) -> None:
    """Print recall of liked test movies, and the share of the catalogue that is listed, for each order."""
    data = rg.load(ratings, items=movies, test_share=0.2)
    model = rg.fit(data, seed=0, use_all=False)  # The model must not know the test ratings.
    liked = data.test.rating >= 4
    wanted: dict[int, set[int]] = {}
    for user, item in zip(data.test.user_index[liked].tolist(), data.test.item_index[liked].tolist(), strict=True):
        wanted.setdefault(user, set()).add(item)
    users = np.array(sorted(wanted), np.int32)
    print(f"{len(users)} users with a liked test movie, lists of 10")
    for name, options in ORDERS.items():
        lists = model.list_indices(users, k=10, **options)
        hits = sum(len(wanted[user] & set(row)) for user, row in zip(users.tolist(), lists.tolist(), strict=True))
        possible = sum(min(10, len(wanted[user])) for user in users.tolist())
        listed = np.unique(lists[lists >= 0]).size / len(data.items)
        print(f"{name:16} recall {hits / possible:.3f}  coverage {listed:.3f}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except (rg.ReelgraphError, TypeError) as error:
        sys.exit(f"error: {error}")
