"""Load ratings from files as a Dataset."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from reelgraph.config import DataConfig
from reelgraph.data import sources
from reelgraph.data.dataset import Dataset, is_prepared, load_prepared
from reelgraph.data.frames import TableLike, write_frame
from reelgraph.data.prepare.prepare import prepare
from reelgraph.engines.spark_jobs import Observer
from reelgraph.errors import ConfigError, ReelgraphError

Report = Callable[[str], None]


def silent(*_: object) -> None:
    """A report function that discards its lines."""


def load(
    ratings: TableLike | None = None, *, items: TableLike | None = None, users: TableLike | None = None,
    test: TableLike | None = None, config: DataConfig | None = None, report: Report = silent,
    watch: Observer | None = None, columns: dict[str, str] | None = None, item_columns: dict[str, str] | None = None,
    user_columns: dict[str, str] | None = None, missing: tuple[float, ...] | None = None,
    scale: tuple[float, float] | None = None, split: Literal["random", "time", "last", "given"] | None = None,
    valid_share: float | None = None, test_share: float | None = None, last: int | None = None,
    split_seed: int | None = None, engine: str | None = None, stage: str | None = None, implicit: bool | None = None,
    matrix: bool | None = None, strict: bool | None = None,
) -> Dataset:  # fmt: skip
    """Read, check, index and split ratings.

    Each table is a file, a DataFrame (pandas, polars, Arrow, Spark), a mapping of columns, or a list of tuples or
    dicts. All of them go through the same checks. The other arguments are fields of `DataConfig`, which describes them
    and has their defaults; None leaves one as it is.

    Args:
        ratings: ratings; also a MovieLens folder, a prepared directory, or None for the bundled sample. Tuples hold
            user, movie, rating and perhaps timestamp.
        items: a movie table.
        users: a user table.
        test: test ratings; they set the split to `given`.
        config: data settings; those given by name come before these.
        report: called with each line of the report on the files.
        watch: called with the progress of Spark jobs.

    Raises:
        DataError: if the ratings cannot be used.
        ConfigError: if a setting is out of range.
    """
    config = (config or DataConfig()).changed(locals())
    tables = {"ratings": ratings, "items": items, "users": users, "test": test}
    with tempfile.TemporaryDirectory(prefix="reelgraph-", dir=config.stage) as directory:
        folder = Path(directory)
        with _without_folder(folder):
            files = [_file(value, what, folder) for what, value in tables.items()]
            ready = prepared(*files, config=config, out=folder / "prepared", report=report, watch=watch)
        return load_prepared(ready)


def _file(value: TableLike | None, what: str, folder: Path) -> str | Path | None:
    """The file of a table; a DataFrame is written to one."""
    if value is None or isinstance(value, str | Path):
        return value
    names = {"items": ("movieId", "title", "year", "genres"), "users": ("userId",)}
    return write_frame(value, names.get(what, tuple(sources.CANONICAL.values())), what, folder)


@contextmanager
def _without_folder(folder: Path) -> Iterator[None]:
    """Errors about a DataFrame name the argument, not the temporary file that it was written to."""
    try:
        yield
    except ReelgraphError as error:
        if f"{folder}/" not in error.problem:
            raise
        problem = error.problem.replace(f"{folder}/", "").replace(".parquet", "")
        raise type(error)(problem, error.remedy) from None


def prepared(
    ratings: str | Path | None,
    items: str | Path | None,
    users: str | Path | None,
    test: str | Path | None,
    *,
    config: DataConfig,
    out: Path,
    report: Report = silent,
    watch: Observer | None = None,
) -> Path:
    """The prepared directory of the ratings: `ratings` itself if it is one, else `out`, written here; see `load`."""
    if test is not None:
        config = config.model_copy(update={"split": "given"})
    if ratings is not None and is_prepared(Path(ratings)):
        if items or users or test:
            raise ConfigError(
                f"{ratings}: expected a prepared directory without --items, --users and --test, found one of them",
                "prepare the ratings again with these files",
            )
        return Path(ratings)
    source = sources.find(*(None if path is None else Path(path) for path in (ratings, items, users, test)))
    return prepare(source, config, out, report, watch)
