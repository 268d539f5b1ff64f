"""Load(): the one door from files to a Dataset."""

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
    """A report that goes nowhere."""


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
    """Ratings from a file or folder, validated, indexed and split.

    Args:
        ratings: a CSV, TSV or Parquet file, a MovieLens folder, a Prepared directory, or None for the bundled sample.
        items: a movie table.
        users: a user table.
        test: a file of test ratings; the split is then `given`.
        config: data settings.
        report: takes one line of text at a time on what was found.
        watch: is told how the jobs of Spark get on, if that is the engine.
        **settings: fields of `config` by name, such as `split="time"`, in its place.

    Raises:
        DataError: if the ratings cannot be used; see `data.prepare`.
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
    """The Prepared directory of ratings: they themselves if they are one, else `out`, written; see `load`."""
    if test is not None:
        config = config.model_copy(update={"split": "given"})
    if ratings is not None and is_prepared(Path(ratings)):
        if items or users or test:
            raise ConfigError(
                f"{ratings}: expected no other tables beside a prepared directory, found some",
                "prepare again with them",
            )
        return Path(ratings)
    source = sources.find(*(None if path is None else Path(path) for path in (ratings, items, users, test)))
    return prepare(source, config, out, report, watch)
