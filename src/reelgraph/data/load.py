"""Load ratings from files as a Dataset."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelgraph.config import DataConfig
from reelgraph.data import sources
from reelgraph.data.dataset import Dataset, is_prepared, load_prepared
from reelgraph.data.prepare.prepare import prepare
from reelgraph.engines.spark_jobs import Observer
from reelgraph.errors import ConfigError

Report = Callable[[str], None]


def silent(*_: object) -> None:
    """A report function that discards its lines."""


def load(
    ratings: str | Path | None = None,
    *,
    items: str | Path | None = None,
    users: str | Path | None = None,
    test: str | Path | None = None,
    config: DataConfig | None = None,
    report: Report = silent,
    watch: Observer | None = None,
    **settings: Any,
) -> Dataset:
    """Read, check, index and split ratings.

    Args:
        ratings: a CSV, TSV or Parquet file, a MovieLens folder, a prepared directory, or None for the bundled sample.
        items: a movie table.
        users: a user table.
        test: a file of test ratings; it sets the split to `given`.
        config: data settings.
        report: called with each line of the report on the files.
        watch: called with the progress of Spark jobs.
        **settings: fields of `config` by name, such as `split="time"`, instead of `config`.

    Raises:
        DataError: if the ratings cannot be used.
    """
    config = config or DataConfig(**settings)
    with tempfile.TemporaryDirectory(prefix="reelgraph-", dir=config.stage) as directory:
        out, files = Path(directory) / "prepared", (ratings, items, users, test)
        return load_prepared(prepared(*files, config=config, out=out, report=report, watch=watch))


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
