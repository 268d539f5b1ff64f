"""Everyone's lists by Spark: a task a part, a file a part, resumable by part.

While the lists are made, finished parts lie in a directory of their own with a manifest of what they belong to. A later
run with the same model and wishes makes only those that are missing. The result takes its name when it is whole.
"""

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reelgraph._version import __version__
from reelgraph.artifact import Artifact, read_artifact
from reelgraph.engines.engine import Engine, check_seen, open_engine
from reelgraph.engines.spark_jobs import SHARE, Observer
from reelgraph.errors import ConfigError, EngineError
from reelgraph.files import MANIFEST, check_target, new_directory, new_file, output_errors
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender
from reelgraph.spark.worker import Share, code, file_of, pack

KIND, VERSION = "reelgraph-lists", 1

FACTS = f"_{MANIFEST}"  # what reads a directory of Parquet files passes such a name over

PART_USERS = 4096


@dataclass(frozen=True)
class Batch:
    """Lists to be made.

    Attributes:
        model: the model's directory.
        choice: what lists are wanted.
        out: the directory for them; an earlier result there is replaced.
        engine: "spark", "local[N]", "spark://host:port" or "sc://host:port".
        partitions: parts to cut them into; None for one for every `PART_USERS` users.
        stage: directory for unfinished results, shared by all workers; None for that of `out`.
        resume: keep the parts that an interrupted run has finished.
    """

    model: Path
    choice: Choice
    out: Path
    engine: str
    partitions: int | None = None
    stage: Path | None = None
    resume: bool = False

    @property
    def partial(self) -> Path:
        """Where finished parts are until all are."""
        return ((self.stage or self.out.parent) / f"{self.out.name}.partial").absolute()


@dataclass(frozen=True)
class Done:
    """What was made: rows and users of the lists, parts, and how many of them an earlier run had left."""

    rows: int
    users: int
    parts: int
    kept: int


def write_lists(batch: Batch, report: Callable[[str], None], observe: Observer | None = None) -> Done:
    """Make everyone's lists.

    Args:
        batch: which, how, and where to.
        report: takes a line of text at a time.
        observe: is told how Spark's jobs get on, from another thread.

    Raises:
        ArtifactError: if the model cannot be read.
        ConfigError: if the choice is out of range, or an interrupted run was for another model or other wishes.
        UnknownIdError: if the genre is not known.
        OutputError: if the result cannot be written.
        SetupError: if the engine is not there, or workers do not share the directory.
        EngineError: if a job fails; finished parts are kept.
    """
    check_target(batch.out, KIND, FACTS)
    artifact = read_artifact(batch.model, lists_only=True)
    users = artifact.users.num_rows
    parts = min(batch.partitions or -(-users // PART_USERS), users)
    _check(Recommender(artifact), batch, parts)
    facts = _facts(batch, users, parts)
    with output_errors(batch.partial):
        _begin(batch, facts)
    missing = [part for part in range(parts) if _rows(batch.partial, part) is None]
    if len(missing) < parts:
        report(f"{batch.partial}: {parts - len(missing):,} of {parts:,} parts are there already")
    try:
        if missing:
            with open_engine(batch.engine, observe) as engine:
                _run(engine, batch, artifact, parts, missing)
        rows = _finish(batch, facts, parts)
    finally:
        if not any(batch.partial.glob("part-*")):
            shutil.rmtree(batch.partial, ignore_errors=True)
    return Done(rows, users, parts, parts - len(missing))


def _check(model: Recommender, batch: Batch, parts: int) -> None:
    """Refuse, before Spark starts, what every worker would refuse."""
    model.lists.weights(batch.choice)
    model.lists.matching(batch.choice)
    if parts < 1:
        raise ConfigError(f"--partitions: expected 1 or more, found {batch.partitions}", "choose such a number")


def _facts(batch: Batch, users: int, parts: int) -> dict[str, Any]:
    """What parts belong to: they fit together only if all of this is the same."""
    choice = dict(vars(batch.choice))
    for name in ("allow", "deny"):  # They may be long: a checksum says whether they are others.
        if choice[name] is not None:
            movies = sorted({str(movie) for movie in choice[name]})
            checksum = hashlib.sha256("\n".join(movies).encode()).hexdigest()
            choice[name] = f"{len(movies)} movies, sha256 {checksum}"
    # The model's manifest holds the checksums of all its files.
    model = hashlib.sha256((batch.model / MANIFEST).read_bytes()).hexdigest()
    facts = {"kind": KIND, "version": VERSION, "reelgraph": __version__, "model": model, "users": users}
    # As they are when they have been written and read.
    read: dict[str, Any] = json.loads(json.dumps(facts | {"partitions": parts} | choice))
    return read


def _begin(batch: Batch, facts: Mapping[str, Any]) -> None:
    """The directory of finished parts, with a manifest; what an interrupted run left is kept or removed."""
    file = batch.partial / FACTS
    if batch.resume and file.exists():
        before = json.loads(file.read_text("utf-8"))
        for name, value in facts.items():
            if before.get(name) != value:
                raise ConfigError(
                    f"--resume: expected {name} {before.get(name)!r} as in {batch.partial}, found {value!r}",
                    "give the model and options of the interrupted run, or leave --resume out to start anew",
                )
        return
    shutil.rmtree(batch.partial, ignore_errors=True)
    batch.partial.mkdir(parents=True)
    with new_file(file) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rows(directory: Path, part: int) -> int | None:
    """The rows of a finished part; None if it is not there, or damaged."""
    try:
        return int(pq.read_metadata(file_of(directory, part)).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _run(engine: Engine, batch: Batch, artifact: Artifact, parts: int, missing: list[int]) -> None:
    """Make what is missing, a task a part; the states go to every machine once, as a file of the session."""
    with tempfile.TemporaryDirectory(prefix="_", dir=batch.partial) as probe:
        check_seen(engine, Path(probe))
    states = f"lists-{uuid.uuid4().hex}.zip"
    share = Share(states, str(batch.partial), batch.choice, artifact.users.num_rows, parts, tuple(missing))
    package = code()
    with tempfile.TemporaryDirectory(prefix="reelgraph-") as folder:
        pack(artifact, Path(folder) / states)
        archive = Path(folder) / f"reelgraph-{hashlib.sha256(package).hexdigest()[:16]}.zip"
        archive.write_bytes(package)
        engine.spark.addArtifacts(str(archive), pyfile=True)
        engine.spark.addArtifacts(str(Path(folder) / states), archive=True)

        def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield from share.make(batches)

        places = engine.spark.range(0, len(missing), 1, len(missing))
        made = {row.part: row.rows for row in places.mapInArrow(make, "part long, rows long").collect()}
    lost = [part for part in missing if made.get(part) is None or _rows(batch.partial, part) != made[part]]
    if lost:
        raise EngineError(
            f"{batch.partial}: expected {len(missing):,} parts from the workers, found {len(missing) - len(lost):,}",
            SHARE,
        )


def _finish(batch: Batch, facts: Mapping[str, Any], parts: int) -> int:
    """Put the finished parts in the place of the result, with a manifest; returns the rows of the lists."""
    rows = sum(_rows(batch.partial, part) or 0 for part in range(parts))
    with new_directory(batch.out, KIND, FACTS) as directory:
        for part in range(parts):
            file, target = file_of(batch.partial, part), file_of(directory, part)
            try:  # They stay where they are until the result is whole.
                target.hardlink_to(file)
            except OSError:
                shutil.copyfile(file, target)
        text = json.dumps(dict(facts) | {"rows": rows}, indent=2, ensure_ascii=False)
        (directory / FACTS).write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(batch.partial, ignore_errors=True)
    return rows
