"""Model directories with one thing changed, whose sizes and checksums agree again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from reelgraph.artifact import HISTORY, SUM, TABLES, WEIGHTS, sum_of
from reelgraph.errors import ArtifactError, ReelgraphError
from reelgraph.recommend.insights import describe, summarize
from reelgraph.recommend.recommender import Recommender, open_model
from reelgraph.service.model import read

Change = Callable[[Path], None]
MANIFEST = "manifest.json"
GONE = object()
VALUES: tuple[Any, ...] = (
    GONE,
    None,
    True,
    "x",
    "\ud800",
    [],
    {},
    [{}],
    -1,
    0,
    0.5,
    -1e308,
    1e308,
    10**30,
    10**400,
    float("nan"),
)


def agree(folder: Path, *, whole: bool = True) -> None:
    """Write the sizes and checksums of the files into the manifest, and, for the `whole` of it, its own."""
    manifest = json.loads((folder / MANIFEST).read_text())
    if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
        for name, facts in manifest["files"].items():
            if isinstance(facts, dict) and (folder / name).is_file():
                data = (folder / name).read_bytes()
                facts |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if whole:
            manifest[SUM] = sum_of(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))


def change_entry(way: tuple[Any, ...], value: Any) -> Change:
    """Set an entry of the manifest, or take it out."""

    def change(folder: Path) -> None:
        whole = part = json.loads((folder / MANIFEST).read_text())
        for name in way[:-1]:
            part = part[name]
        if value is GONE:
            del part[way[-1]]
        else:
            part[way[-1]] = value
        (folder / MANIFEST).write_text(json.dumps(whole))

    return change


def change_arrays(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Change the arrays of the model."""

    def changed(folder: Path) -> None:
        arrays = {name: array.copy() for name, array in load_file(folder / WEIGHTS).items()}
        change(arrays)
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, folder / WEIGHTS)

    return changed


def change_table(name: str, change: Callable[[pa.Table], pa.Table]) -> Change:
    """Change a table of the model."""

    def changed(folder: Path) -> None:
        pq.write_table(change(pq.read_table(folder / f"{name}.parquet")), folder / f"{name}.parquet")

    return changed


def change_column(name: str, change: Callable[[list[Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    """Change the cells of a column."""
    return lambda table: table.set_column(table.column_names.index(name), name, change(table[name].to_pylist()))


def change_bytes(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Change a file."""

    def changed(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return changed


def ways(part: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all entries of a manifest; of a list, to the first element."""
    entries = part.items() if isinstance(part, dict) else enumerate(part[:1]) if isinstance(part, list) else ()
    for name, inner in entries:
        yield (*way, name)
        yield from ways(inner, (*way, name))


def mutations(folder: Path) -> list[tuple[str, Change]]:
    """Changes of every entry, array, column and file of a model, none of which makes another valid model."""
    return [*_of_manifest(folder), *_of_arrays(folder), *_of_tables(folder), *_of_files(folder)]


def _of_manifest(folder: Path) -> Iterator[tuple[str, Change]]:
    manifest = json.loads((folder / MANIFEST).read_text())
    for way in ways(manifest):
        for value in VALUES:
            named = "gone" if value is GONE else repr(value)[:20]
            yield f"manifest: {'.'.join(map(str, way))} = {named}", change_entry(way, value)


def _of_arrays(folder: Path) -> Iterator[tuple[str, Change]]:
    def put(name: str, value: float) -> Callable[[dict[str, Any]], Any]:
        return lambda arrays: arrays[name].reshape(-1)[-1:].fill(value)

    def replaced(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
        return lambda arrays: arrays.update({name: change(arrays[name])})

    for name, array in load_file(folder / WEIGHTS).items():
        for value in (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e9):
            yield f"{name}: {value}", change_arrays(put(name, value))
        changes: dict[str, Callable[[Any], Any]] = {
            "float64": lambda old: old.astype(np.float64), "float16": lambda old: old.astype(np.float16),
            "int32": lambda old: old.astype(np.int32), "bool": lambda old: old > 0, "deeper": lambda old: old[None],
        }  # fmt: skip
        if array.ndim:
            changes |= {
                "a row less": lambda old: old[:-1], "a row more": lambda old: np.concatenate([old, old[:1]]),
                "empty": lambda old: old[:0], "one number": lambda old: old.reshape(-1)[0],
            }  # fmt: skip
        if array.ndim == 2:
            changes |= {
                "flat": lambda old: old.reshape(-1), "a column less": lambda old: old[:, :-1],
                "no columns": lambda old: old[:, :0],
            }  # fmt: skip
        for what, change in changes.items():
            if change(array).shape != array.shape or change(array).dtype != array.dtype:
                yield f"{name}: {what}", change_arrays(replaced(name, change))
        yield f"{name}: missing", change_arrays(methodcaller("pop", name))


def _of_tables(folder: Path) -> Iterator[tuple[str, Change]]:
    for table in TABLES:
        old = pq.read_table(folder / f"{table}.parquet")
        whole: dict[str, Callable[[pa.Table], pa.Table]] = {
            "rows twice": lambda t: pa.concat_tables([t, t]), "no rows": lambda t: t.slice(0, 0),
            "a row less": lambda t: t.slice(1), "a row more": lambda t: pa.concat_tables([t, t.slice(0, 1)]),
        }  # fmt: skip
        if table == "seen":
            whole["backwards"] = lambda t: t.take(pa.array(range(t.num_rows)[::-1]))
            whole["two rows exchanged"] = lambda t: t.take(pa.array([1, 0, *range(2, t.num_rows)]))
        for what, change in whole.items():
            yield f"{table}: {what}", change_table(table, change)
        for field in old.schema:
            yield from _of_column(table, field)


def _of_column(table: str, field: pa.Field) -> Iterator[tuple[str, Change]]:
    name, key = field.name, field.name in {"userId", "movieId"}
    cells: dict[str, Callable[[list[Any]], Any]] = {"lists": lambda v: pa.array([["a"]] * len(v))}
    if pa.types.is_string(field.type):
        cells["bytes"] = lambda v: pa.array([b"\xff\xfe"] * len(v), pa.binary())
        cells["numbers"] = lambda v: pa.array(range(len(v)))
        cells["not UTF-8"] = lambda v: pa.array([b"\xff\xfe%d" % n for n in range(len(v))], pa.binary()).view(
            pa.string()
        )
    else:
        cells["text"] = lambda v: pa.array([f"{cell}" for cell in v])
        cells["other width"] = lambda v: pa.array(v, pa.float64() if pa.types.is_floating(field.type) else pa.int16())
        cells["bool"] = lambda v: pa.array([bool(cell) for cell in v])
    if key or table == "seen":
        cells["a null"] = lambda v: pa.array([None, *v[1:]], field.type)
        cells["nulls"] = lambda v: pa.nulls(len(v), field.type)
        cells["missing"] = lambda v: None
    if key:
        cells["twice"] = lambda v: pa.array([v[-1], *v[1:]], field.type)
    if pa.types.is_floating(field.type) and table == "seen":
        for value in (np.nan, np.inf, -np.inf, -50.0, 3e38):
            cells[str(value)] = partial(_with_last, value, field.type)
    if name.endswith("_index"):
        for number in (-1, 10**6, 2**31 - 1):
            cells[str(number)] = partial(_with_last, number, field.type)
    if name == "rating":
        cells["backwards"] = lambda v: pa.array(v[::-1], field.type)
        cells["all the same"] = lambda v: pa.array([v[0]] * len(v), field.type)
    for what, change in cells.items():
        if what == "missing":
            yield f"{table}.{name}: missing", change_table(table, lambda t: t.drop_columns([name]))
        else:
            yield f"{table}.{name}: {what}", change_table(table, change_column(name, change))


def _with_last(value: Any, kind: pa.DataType, cells: list[Any]) -> pa.Array:
    return pa.array([*cells[:-1], value], kind)


def _of_files(folder: Path) -> Iterator[tuple[str, Change]]:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda data: b"", "half": lambda data: data[: len(data) // 2], "zeros": lambda data: bytes(len(data)),
        "noise": lambda data: bytes(range(256)) * 9, "a byte less": lambda data: data[:-1],
    }  # fmt: skip
    for file in sorted(folder.iterdir()):
        for what, change in changes.items():
            yield f"{file.name}: {what}", change_bytes(file.name, change)
        yield f"{file.name}: missing", partial(_without, file.name)
        yield f"{file.name}: a directory", partial(_as_directory, file.name)
    for row in (
        "fit",
        "fit,x,,,,,",
        "fit,1,nan,,,,",
        "fit,1,inf,,,,",
        "fit,1.5,0,0,0,0,0",
        "fit,1,2,3,4,5,6,7,8",
        '"fit',
    ):
        yield f"history: {row}", change_bytes(HISTORY, partial(_followed_by, f"{row}\n".encode()))
    yield "history: no header", change_bytes(HISTORY, lambda data: data.split(b"\n", 1)[1])
    for text in ("[]", "{", "null", '"x"', "[" * 100_000, '{"kind": "reelgraph-prepared"}', "\ufeff{}"):
        yield f"manifest: {text[:20]}", change_bytes(MANIFEST, partial(_instead, text.encode()))


def _without(name: str, folder: Path) -> None:
    (folder / name).unlink()


def _as_directory(name: str, folder: Path) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def _followed_by(more: bytes, data: bytes) -> bytes:
    return data + more


def _instead(data: bytes, _: bytes) -> bytes:
    return data


def answers(model: Recommender) -> list[Any]:
    """What a model says when asked everything; a ValueError if a number in it is not finite."""
    users, movies = ([ids.id(index) for index in (0, len(ids) - 1)] for ids in (model.users, model.items))
    pairs = [(user, movie) for user in (*users, "?") for movie in (*movies, "?")]
    visitor = dict(zip(movies, (model.predictor.low, model.predictor.high), strict=True))
    told: list[Any] = [model.predict(pairs, timestamps=times).tolist() for times in (None, [1_000_000] * len(pairs))]
    told += [line.to_json(1) for user in users for line in model.recommend(user, k=5)]
    told += [line.to_json(1) for ratings in ({}, visitor) for line in model.recommend(ratings=ratings, k=5)]
    told += [[(str(movie), cosine) for movie, cosine in model.similar(movies[0], k=3)]]
    told += [model.similar_users(users[0], k=3), *(table.to_pylist() for table in model.recommend_all(k=3))]
    if model.predictor.scorer.fold_in is not None:
        told.append(model.explain(users[0], movie=movies[1]).to_json())
        told.append(model.explain(ratings=visitor, movie=movies[1]).to_json())
    json.dumps([told, summarize(model), describe(model), model.id_types, repr(model)], allow_nan=False).encode()
    return told


def try_change(folder: Path, change: Change, expected: list[Any], *, whole: bool = True) -> str:
    """Change a model and judge it, see `agree` and `judge`."""
    change(folder)
    with suppress(OSError, ValueError, RecursionError):  # no manifest to write them into
        agree(folder, whole=whole)
    return judge(folder, expected)


def judge(folder: Path, expected: list[Any]) -> str:
    """What becomes of a changed model: "refused: ...", "right", "another model", or what is wrong."""
    try:
        served = read(folder)
    except ReelgraphError as error:
        served = None
        refused = str(error)
    except Exception as error:
        return f"wrong: serve: {type(error).__name__}: {error}"
    try:
        told = answers(open_model(folder))
    except ArtifactError as error:
        return f"refused: {error}" if served is None else "wrong: serve takes what open refuses"
    except Exception as error:
        return f"wrong: {type(error).__name__}: {error}"
    if served is None:
        return f"wrong: open takes what serve refuses: {refused}"
    return "right" if _close(told, expected) else "another model"


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-4 * max(1.0, abs(other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return all(map(_close, one, other))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return all(_close(one[name], other[name]) for name in one)
    return bool(one == other)
