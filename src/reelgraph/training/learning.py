"""A round of learning: a model takes in the ratings that its service has collected, unless that makes it worse.

Every round starts from the latest full fit and all ratings that are there now, so that rounds do not add up errors and
deleted ratings leave the model. The newest ratings judge the result against the model in service. Neither knows them:
the candidate is made without them first, and again with them once it is taken in. A refit is judged by ratings since
the last one, some of which updates have taken in by then; an update without them then stands for the model in service.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from reelgraph.arrays import Floats, Int64s, Mask
from reelgraph.artifact import COLLECTED, LEARNED, Artifact, read_artifact, write_artifact
from reelgraph.config import DataConfig, TrainConfig
from reelgraph.data.dataset import LIKED, NO_TIME, Interactions
from reelgraph.data.load import load
from reelgraph.data.vocabulary import Vocabulary
from reelgraph.evaluation.differences import paired
from reelgraph.files import MANIFEST, learning_of, locked
from reelgraph.recommend.predictor import Person
from reelgraph.recommend.recommender import Recommender
from reelgraph.training.fit import fit
from reelgraph.training.update import forget, update, with_users

LEAST = 20  # new ratings that a round needs
JUDGES = 0.2  # share of the new ratings that judge; at least half of `LEAST`
MOST_JUDGES = 20_000
CHANCE = 0.05  # of refusing a model that is no worse
_SPLIT = {"valid_share", "test_share", "last", "split_seed"}  # settings of the data that hold for any files


@dataclass(frozen=True)
class Round:
    """The outcome of a round.

    Attributes:
        kind: "update" of the latest full fit, or "refit", a new one.
        outcome: "taken" in, "refused" because it is worse, "skipped" for lack of new ratings, or "overtaken" by a model
            that somebody else put in place.
        why: the outcome in words.
        collected: ratings in the database, of movies of the operator's model.
        new: those of them that the model in service does not know, or for a refit, that the latest full fit does not.
        deleted: ratings removed from the model in service because they were deleted from the database.
        judges: the newest ratings, which judged; their users are `judging_users`.
        measures: by measure ("rmse" of predicted stars; "ndcg" of the place of a liked movie among all movies) the
            value of the model in "service", of the "candidate", and the "chance" of such a difference if it is no
            worse.
        seconds: the time taken.
    """

    kind: str
    outcome: str = "skipped"
    why: str = ""
    collected: int = 0
    new: int = 0
    deleted: int = 0
    judges: int = 0
    judging_users: int = 0
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Kept:
    """The model that the operator put in place, and the latest full fit to its ratings and collected ones."""

    origin: Artifact
    fitted: Artifact


def learn(
    path: Path, collected: pa.Table, *, refit: bool = False, may_write: Callable[[], None] = lambda: None
) -> Round:
    """Let the model at `path` learn from ratings, and replace it if the result is no worse.

    Args:
        path: the model.
        collected: all ratings that the service holds now: `userId`, `movieId`, `rating`, `timestamp`, each pair once.
        refit: whether to train anew, on the operator's ratings and the collected ones, instead of an update.
        may_write: called before anything is written; it raises an error if another process learns by now.

    Raises:
        ConfigError: if the model is `gcn`.
    """
    started = time.monotonic()
    with locked(path):
        served = read_artifact(path)
        kept = _kept(path, served)
        # The service takes no ratings of others; these are of a larger model before, and would bring its movies back.
        movies = Vocabulary.of(kept.origin.items, "movie").indices(collected["movieId"].to_pylist())[1]
        collected = collected.filter(pa.array(movies))
        served, kept, deleted = _without_deleted(path, served, kept, collected, may_write)
    before = kept.fitted if refit else served
    new = ~np.isin(_pairs(before, *_ids(collected)), _own_pairs(before))
    facts = Round("refit" if refit else "update", collected=collected.num_rows, new=int(new.sum()), deleted=deleted)
    if facts.new < LEAST:
        facts = replace(facts, why=f"expected {LEAST} new ratings or more, found {facts.new}")
    else:
        facts = _candidate(path, served, kept, collected, new, facts, may_write)
    return replace(facts, seconds=round(time.monotonic() - started, 2))


def _candidate(
    path: Path,
    served: Artifact,
    kept: _Kept,
    collected: pa.Table,
    new: Mask,
    facts: Round,
    may_write: Callable[[], None],
) -> Round:
    """Make a model, judge it, and put it in place if it is no worse."""
    asked = _newest(served, collected, new)
    known, judges = collected.filter(pa.array(~asked)), collected.filter(pa.array(asked))
    fitted = _trained(kept.origin, known) if facts.kind == "refit" else kept.fitted
    candidate = fitted if facts.kind == "refit" else _updated(fitted, known)
    trained = Vocabulary.of(kept.origin.users, "user")
    if np.isin(_pairs(served, *_ids(judges)), _own_pairs(served)).any():
        reference = _updated(kept.fitted, known)
    else:
        reference = served
    one, other = (errors_as_served(Recommender(model), trained, known, judges) for model in (reference, candidate))
    users = np.asarray(judges["userId"].to_pylist())
    measures, worse = {}, []
    for name, show in (("rmse", np.sqrt), ("ndcg", lambda error: 1 - error)):
        both = np.isfinite(one[name]) & np.isfinite(other[name])
        if both.any():
            found = paired(one[name][both], other[name][both], users[both].tolist())
            values = {"service": float(show(found.first)), "candidate": float(show(found.second))}
            measures[name] = values | {"chance": found.chance}
            if found.chance < CHANCE / 2:
                worse.append(f"{name} of {values['candidate']:.4f} where {values['service']:.4f} is in service")
    facts = replace(facts, judges=judges.num_rows, judging_users=len(np.unique(users)), measures=measures)
    if worse:
        return replace(
            facts, outcome="refused", why=f"expected a model that is no worse, found an {' and an '.join(worse)}"
        )
    final = _marked(_updated(fitted, collected), trained, collected.num_rows)
    may_write()
    with locked(path):
        if read_artifact(path).checksum != served.checksum:
            return replace(facts, outcome="overtaken", why="somebody else replaced the model during the round")
        if facts.kind == "refit":
            write_artifact(fitted, learning_of(path) / "fit", keep=False)
        _put(final, path)
    return replace(facts, outcome="taken", why="no worse on the newest ratings than the model before")


def _put(model: Artifact, path: Path, *, keep: bool = True) -> None:
    """Replace the model at `path`; its time stays: of several in a directory, the newest is served."""
    times = (path / MANIFEST).stat()
    write_artifact(model, path, keep=keep)
    os.utime(path / MANIFEST, ns=(times.st_atime_ns, times.st_mtime_ns))


def _marked(model: Artifact, trained: Vocabulary, ratings: int) -> Artifact:
    """A model that says that it has learned from so many ratings, and which of its users only these name."""
    users = model.users["userId"].to_pylist()
    collected = pa.array([user not in trained for user in users])
    facts = {"ratings": ratings, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return replace(
        model, manifest=model.manifest | {LEARNED: facts}, users=model.users.append_column(COLLECTED, collected)
    )


def _kept(path: Path, served: Artifact) -> _Kept:
    """What rounds start from; a model that no round has made is a new origin, and is copied."""
    origin, fitted = (learning_of(path) / name for name in ("origin", "fit"))
    if LEARNED not in served.manifest or not (origin / MANIFEST).is_file():
        shutil.rmtree(fitted, ignore_errors=True)
        users = served.users.select([name for name in served.users.column_names if name != COLLECTED])
        first = replace(served, users=users)
        write_artifact(first, origin, keep=False)
        return _Kept(first, first)
    first = read_artifact(origin)
    return _Kept(first, read_artifact(fitted) if (fitted / MANIFEST).is_file() else first)


def _without_deleted(
    path: Path, served: Artifact, kept: _Kept, collected: pa.Table, may_write: Callable[[], None]
) -> tuple[Artifact, _Kept, int]:
    """Remove what users have deleted from all models that hold it, with no copy left beside them."""
    if LEARNED not in served.manifest:
        return served, kept, 0
    fitted, left = without_deleted(kept.fitted, kept.origin, collected), without_deleted(served, kept.origin, collected)
    may_write()
    if fitted is not kept.fitted:
        write_artifact(fitted, learning_of(path) / "fit", keep=False)
    deleted = served.seen.num_rows - left.seen.num_rows
    if left is not served:
        _put(left, path, keep=False)
        left = read_artifact(path)
    return left, _Kept(kept.origin, fitted), deleted


def without_deleted(model: Artifact, origin: Artifact, collected: pa.Table) -> Artifact:
    """A model with its ratings of `origin` and of `collected` only; the same one if it has no others.

    A rating of `origin` that a deleted one had replaced returns. Users without ratings go, but for those of `origin`.
    """
    own, ratings, first = _own_pairs(model), model.ratings, origin.ratings
    users, _ = Vocabulary.of(model.users, "user").indices(origin.users["userId"].to_pylist())
    items, _ = Vocabulary.of(model.items, "movie").indices(origin.items["movieId"].to_pylist())
    original = users[first.user_index].astype(np.int64) << 32 | items[first.item_index]
    present, given = np.isin(own, original), np.isin(own, _pairs(model, *_ids(collected)))
    back = np.flatnonzero(present & ~given)
    order = np.argsort(original)
    rating = ratings.rating.copy()
    rating[back] = first.rating[order][np.searchsorted(original[order], own[back])]
    left = replace(ratings, rating=rating).take(present | given)
    if len(left) == len(ratings) and np.array_equal(rating, ratings.rating):
        return model
    stay = np.zeros(model.users.num_rows, bool)
    stay[users] = stay[left.user_index] = True
    return with_users(model, stay, left, {"deleted": len(ratings) - len(left)})


def forget_everywhere(path: Path, user_id: str) -> None:
    """Remove a user from the models that rounds of the model at `path` start from."""
    for place in (learning_of(path) / "origin", learning_of(path) / "fit"):
        if (place / MANIFEST).is_file():
            model = read_artifact(place)
            if user_id in Vocabulary.of(model.users, "user"):
                write_artifact(forget(model, user_id), place, keep=False)


def _newest(served: Artifact, collected: pa.Table, new: Mask) -> Mask:
    """The newest of the new ratings, whose movies the model in service knows."""
    movies = Vocabulary.of(served.items, "movie").indices(collected["movieId"].to_pylist())[1]
    rows = np.flatnonzero(new & movies)
    rows = rows[np.argsort(collected["timestamp"].to_numpy()[rows], kind="stable")]
    number = min(max(LEAST // 2, round(JUDGES * int(new.sum()))), MOST_JUDGES)
    asked = np.zeros(len(new), bool)
    asked[rows[-number:]] = True
    return asked


def errors_as_served(model: Recommender, trained: Vocabulary, known: pa.Table, judges: pa.Table) -> dict[str, Floats]:
    """Errors of a model on ratings, `(num_judges,)` each, where users are served as the service does.

    Users of the operator's data have their row of the model, all others are folded in from their `known` ratings. The
    errors are the squared error of the stars, and 1 - 1 / log2(1 + rank) of the place of a liked movie among all
    movies that its user has not rated, NaN for other movies.
    """
    predictor = model.predictor
    given, asked = _by_user(known), _by_user(judges)
    rating, movies = judges["rating"].to_numpy(), judges["movieId"].to_pylist()
    ratings, found = known["rating"].to_numpy(), known["movieId"].to_pylist()
    errors = {name: np.full(len(rating), np.nan) for name in ("rmse", "ndcg")}
    for user, rows in asked.items():
        rated = {found[row]: float(ratings[row]) for row in given.get(user, []) if found[row] in model.items}
        own = user in trained and user in model.users
        person: Person = model.person(user) if own else model.person(ratings=rated)
        items = model.items.indices(movies[row] for row in rows)[0]
        if predictor.has_stars:
            stars = predictor.stars(predictor.scorer.score(person.state)[0])[items]
            errors["rmse"][rows] = (stars.astype(np.float64) - rating[rows]) ** 2
        scores = model.lists.score_of(person)
        scores[person.rated] = scores[model.items.indices(rated)[0]] = -np.inf
        for row, item in zip(rows, items, strict=True):
            if not predictor.has_stars or rating[row] >= LIKED * predictor.high:
                errors["ndcg"][row] = 1 - 1 / np.log2(2 + (scores > scores[item]).sum())
    return errors


def _by_user(ratings: pa.Table) -> dict[str, list[int]]:
    """The rows of each user."""
    rows: dict[str, list[int]] = {}
    for row, user in enumerate(ratings["userId"].to_pylist()):
        rows.setdefault(user, []).append(row)
    return rows


def _updated(model: Artifact, collected: pa.Table) -> Artifact:
    rating = collected["rating"].to_numpy() if model.has_stars else None
    return update(model, *_ids(collected), rating, collected["timestamp"].to_numpy())[0]


def _trained(origin: Artifact, collected: pa.Table) -> Artifact:
    """A whole training on the operator's and the collected ratings, with the settings of the first training."""
    manifest, stars = origin.manifest, origin.has_stars
    before = manifest["data"].get("settings", {})
    table = _merged(origin, collected)
    timed = "timestamp" in table.column_names
    split = before.get("split") if timed and before.get("split") in {"time", "last"} else "random"
    scale = (manifest["scale"]["low"], manifest["scale"]["high"]) if stars else None
    settings = {name: before[name] for name in _SPLIT & before.keys()} | {"split": split, "scale": scale}
    users = origin.users if origin.users.num_columns > 1 else None
    data = load(table, items=origin.items, users=users, config=DataConfig(**settings, implicit=not stars))
    given = {name: value for name, value in manifest.get("given", {}).items() if name != "processes"}
    return fit(data, TrainConfig(**given)).artifact


def _merged(origin: Artifact, collected: pa.Table) -> pa.Table:
    """The operator's ratings and the collected ones; of the same pair, the collected one."""
    ratings: Interactions = origin.ratings
    left = ratings.take(~np.isin(_own_pairs(origin), _pairs(origin, *_ids(collected))))
    columns = {
        "userId": origin.users["userId"].combine_chunks().take(pa.array(left.user_index)),
        "movieId": origin.items["movieId"].combine_chunks().take(pa.array(left.item_index)),
        "rating": left.rating.astype(np.float64),
    }
    if left.timestamp is None:
        return pa.concat_tables([pa.table(columns), collected.select(list(columns))])
    columns["timestamp"] = pa.array(left.timestamp, mask=left.timestamp == NO_TIME)
    return pa.concat_tables([pa.table(columns), collected])


def _ids(ratings: pa.Table) -> tuple[list[str], list[str]]:
    return ratings["userId"].to_pylist(), ratings["movieId"].to_pylist()


def _pairs(model: Artifact, user_ids: list[str], movie_ids: list[str]) -> Int64s:
    """A number for each pair of user and movie, as `_own_pairs` has them; -1 if the model does not know one of them."""
    user, knows_user = Vocabulary.of(model.users, "user").indices(user_ids)
    item, knows_item = Vocabulary.of(model.items, "movie").indices(movie_ids)
    return np.where(knows_user & knows_item, user.astype(np.int64) << 32 | item, -1)


def _own_pairs(model: Artifact) -> Int64s:
    ratings = model.ratings
    return ratings.user_index.astype(np.int64) << 32 | ratings.item_index
