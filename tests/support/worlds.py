"""Small data sets with known answers."""

import csv
import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data.dataset import Dataset, Interactions
from reelgraph.data.prepare.prepare import prepare
from reelgraph.data.sources import find
from reelgraph.data.vocabulary import Vocabulary


def interactions(user: list[int], item: list[int], rating: list[float]) -> Interactions:
    """Ratings in the order that a `Dataset` holds them."""
    order = np.lexsort((item, user))
    return Interactions(
        np.asarray(user, np.int32)[order],
        np.asarray(item, np.int32)[order],
        np.asarray(rating, np.float32)[order],
        None,
    )


def dataset(train: Interactions, valid: Interactions, test: Interactions, users: int, items: int) -> Dataset:
    """A `Dataset` as preparation would have made it, on the scale 1 to 5."""
    user_ids, movie_ids = ([f"{kind}{index}" for index in range(n)] for kind, n in (("u", users), ("m", items)))
    scale = {"low": 1.0, "high": 5.0, "step": 1.0, "inferred": True}
    split = {"kind": "random", "seed": 0, "fingerprints": {"train": "a", "valid": "b", "test": "c"}}
    source = {"files": [], "id_types": {"user": "string", "item": "string"}}
    return Dataset(
        train=train,
        valid=valid,
        test=test,
        users=Vocabulary(pa.array(user_ids), "user"),
        items=Vocabulary(pa.array(movie_ids), "movie"),
        user_table=pa.table({"userId": user_ids}),
        item_table=pa.table({"movieId": movie_ids}),
        rejects=pa.table({"reason": pa.array([], pa.string())}),
        scale=(1.0, 5.0),
        manifest={"kind": "reelgraph-prepared", "scale": scale, "split": split, "source": source, "counts": {}},
    )


def checkerboard(users: int = 40, items: int = 30, seed: int = 0) -> Dataset:
    """Two groups: users rate the movies of their group 5 and the others 1; a fifth of the ratings is held out."""
    rng = np.random.default_rng(seed)
    cells = [(user, item, 5.0 if user % 2 == item % 2 else 1.0) for user in range(users) for item in range(items)]
    part = rng.random(len(cells))
    splits = [
        interactions(*(list(column) for column in zip(*chosen, strict=True)))
        for low, high in ((0.2, 1.0), (0.1, 0.2), (0.0, 0.1))
        for chosen in [[cell for cell, where in zip(cells, part, strict=True) if low <= where < high]]
    ]
    return dataset(splits[0], splits[1], splits[2], users, items)


def views(users: int = 40, items: int = 30, seed: int = 0) -> list[tuple[str, str]]:
    """Two groups: each user has seen two thirds of the movies of the own group, which all users like equally well."""
    rng = np.random.default_rng(seed)
    own = [(user, item) for user in range(users) for item in range(user % 2, items, 2)]
    return [(f"u{user}", f"m{item}") for user, item in own if rng.random() < 0.67]


def moody(users: int = 60, sessions: int = 4, length: int = 10, seed: int = 0) -> Dataset:
    """Random ratings in sessions of a few minutes on different days; each session has an offset of its own."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for user in range(users):
        movies = iter(rng.permutation(80).tolist())
        for session in range(sessions):
            mood = rng.normal(0, 1)
            for _ in range(length):
                stars = float(np.clip(round(3 + mood + rng.normal(0, 0.4)), 1, 5))
                at = 1_000_000 + 86_400 * session + int(rng.integers(0, 300))
                rows.append((user, next(movies), stars, at, rng.random()))
    columns: Any = [np.asarray(column) for column in zip(*sorted(rows), strict=True)]
    user_index, item_index, rating, timestamp, part = columns
    splits = []
    for low, high in ((0.3, 1.0), (0.15, 0.3), (0.0, 0.15)):
        here = (low <= part) & (part < high)
        splits.append(
            Interactions(
                user_index[here].astype(np.int32), item_index[here].astype(np.int32),
                rating[here].astype(np.float32), timestamp[here].astype(np.int64),
            )
        )  # fmt: skip
    return dataset(splits[0], splits[1], splits[2], users, 80)


def noisy(users: int = 30, items: int = 25, share: float = 0.5, seed: int = 0) -> Interactions:
    """Random ratings of 1 to 5 for a random share of the pairs; user 0 and movie 0 have none."""
    rng = np.random.default_rng(seed)
    cells = [(u, i) for u in range(1, users) for i in range(1, items) if rng.random() < share]
    rating = rng.integers(1, 6, len(cells)).astype(float)
    return interactions([u for u, _ in cells], [i for _, i in cells], rating.tolist())


def settings(**changes: Any) -> TrainConfig:
    """Settings for a fit that takes a fraction of a second."""
    base: dict[str, Any] = {
        "max_steps": 24, "eval_every": 4, "patience": 3, "checkpoint_seconds": 0.0, "dim": 4, "ranking": False,
        "tune": "none", "use_all": False,  # the model that was measured
    }  # fmt: skip
    return TrainConfig.model_validate(base | changes)


def write_files(folder: Path, users: int = 60, items: int = 80, seed: int = 0) -> Path:
    """Write ratings.csv, movies.csv and users.csv; users prefer genres."""
    rng = np.random.default_rng(seed)
    genres = ("Drama", "Comedy", "Horror")
    taste = rng.normal(0, 1, (users, len(genres)))
    kinds = rng.integers(0, len(genres), items)
    with (folder / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["userId", "movieId", "rating", "timestamp"])
        for user in range(users):
            for item in range(items):
                if rng.random() < 0.4:
                    stars = 3 + taste[user, kinds[item]] + rng.normal(0, 0.5)
                    writer.writerow(
                        [user + 1, 10 * (item + 1), int(np.clip(round(stars), 1, 5)), 1_000_000 + user + item]
                    )
    with (folder / "movies.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["movieId", "title", "genres"])
        for item in range(items):
            names = genres[kinds[item]] + ("|War" if item % 7 == 0 else "")
            writer.writerow([10 * (item + 1), f"Movie, The {item + 1} ({1970 + item % 40})", names])
    with (folder / "users.csv").open("w", newline="", encoding="utf-8") as file:
        file.write("userId,gender\n" + "".join(f"{user + 1},{'FM'[user % 2]}\n" for user in range(users)))
    return folder


def prepare_rows(tmp_path: Path, rows: list[tuple[object, ...]], **config: Any) -> Path:
    """Prepare rows of user, movie, rating and optionally timestamp; returns the prepared directory."""
    names = ["userId", "movieId", "rating", "timestamp"][: len(rows[0])]
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n")
    return prepare(find(tmp_path / "r.csv"), DataConfig(**config), tmp_path / "p", lambda line: None)


def benchmark(name: str) -> Any:
    """A script of benchmarks/ as a module; the scripts import one another."""
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def synthetic(ratings: int, users: int, movies: int) -> Dataset:
    """Ratings of benchmarks/synthetic.py, with the usual shares for validation and test."""
    maker = benchmark("synthetic")
    drawn = maker.blocks(maker.Truth.drawn(ratings, users, movies, 0))
    user, movie, rating, timestamp = (np.concatenate(part) for part in zip(*drawn, strict=True))
    order, part = np.lexsort((movie, user)), np.random.default_rng(0).random(ratings)
    rows = Interactions(user[order].astype(np.int32), movie[order].astype(np.int32), rating[order], timestamp[order])
    train, valid, test = (rows.take((low <= part) & (part < high)) for low, high in ((0, 0.81), (0.81, 0.9), (0.9, 1)))
    data = dataset(train, valid, test, users, movies)
    scale = {"low": 0.5, "high": 5.0, "step": 0.5, "inferred": True}
    return replace(data, scale=(0.5, 5.0), manifest=data.manifest | {"scale": scale})
