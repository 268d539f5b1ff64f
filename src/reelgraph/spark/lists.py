"""Write lists for all users in resumable parts, one Spark task and one Parquet file each."""

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
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
from reelgraph.files import MANIFEST, check_target, locked, new_directory, new_file, output_errors
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender
from reelgraph.spark.worker import Share, file_of, pack, pack_code

KIND, VERSION = "reelgraph-lists", 1
FACTS = f"_{MANIFEST}"  # readers of Parquet directories skip names that start with an underscore
PART_USERS = 4096  # users per part by default


@dataclass(frozen=True)
class Batch:
    """A request for lists."""

    model: Path
    choice: Choice
    out: Path  # an earlier result is replaced
    engine: str  # "spark", "local[N]", "spark://host:port" or "sc://host:port"
    partitions: int | None = None  # number of parts; None for one per `PART_USERS` users
    stage: Path | None = None  # a directory for finished parts that all workers share; None for the parent of `out`
    resume: bool = False  # keep the finished parts of an interrupted run

    @property
    def partial(self) -> Path:
        """The directory of finished parts until all are finished."""
        return ((self.stage or self.out.parent) / f"{self.out.name}.partial").absolute()


@dataclass(frozen=True)
class BatchResult:
    """Numbers of rows, users and parts, and of parts kept from an earlier run."""

    rows: int
    users: int
    parts: int
    kept: int


def write_lists(batch: Batch, report: Callable[[str], None], observe: Observer | None = None) -> BatchResult:
    """Write lists for all users; if a job fails, its finished parts are kept for `resume`."""
    check_target(batch.out, KIND, FACTS)
    artifact = read_artifact(batch.model, lists_only=True)
    users = artifact.users.num_rows
    parts = min(batch.partitions or -(-users // PART_USERS), users)
    _check_choice(Recommender(artifact), batch)
    facts = _describe(batch, artifact.checksum, users, parts)
    with ExitStack() as stack:
        with output_errors(batch.partial):
            stack.enter_context(locked(batch.partial, report, make=True))
            _prepare_partial(batch, facts)
        kept, rows = _write(batch, artifact, facts, parts, report, observe)
    return BatchResult(rows, users, parts, kept)


def _write(
    batch: Batch, artifact: Artifact, facts: Mapping[str, Any], parts: int, report: Callable[[str], None],
    observe: Observer | None,
) -> tuple[int, int]:  # fmt: skip
    """Write the missing parts and the result; returns the numbers of parts kept and of rows."""
    missing = [part for part in range(parts) if _rows(batch.partial, part) is None]
    if len(missing) < parts:
        report(f"{batch.partial}: {parts - len(missing):,} of {parts:,} parts are finished")
    try:
        if missing:
            with open_engine(batch.engine, observe) as engine:
                _run(engine, batch, artifact, parts, missing)
        rows = _finish(batch, facts, parts)
    finally:
        if not any(batch.partial.glob("part-*")):
            shutil.rmtree(batch.partial, ignore_errors=True)
    return parts - len(missing), rows


def _check_choice(model: Recommender, batch: Batch) -> None:
    """Refuse an invalid choice before Spark starts."""
    model.lists.weights(batch.choice)
    model.lists.matching(batch.choice)


def _describe(batch: Batch, model: str, users: int, parts: int) -> dict[str, Any]:
    """The manifest of the parts; only parts with equal manifests belong together."""
    choice = dict(vars(batch.choice))
    for name in ("allow", "deny"):  # may be long, so a checksum identifies them
        if choice[name] is not None:
            movies = sorted({str(movie) for movie in choice[name]})
            checksum = hashlib.sha256("\n".join(movies).encode()).hexdigest()
            choice[name] = f"{len(movies)} movies, sha256 {checksum}"
    facts = {"kind": KIND, "version": VERSION, "reelgraph": __version__, "model": model, "users": users}
    # The types as they are after reading the manifest.
    described: dict[str, Any] = json.loads(json.dumps(facts | {"partitions": parts} | choice))
    return described


def _prepare_partial(batch: Batch, facts: Mapping[str, Any]) -> None:
    """Create the directory of finished parts with its manifest, or keep that of an interrupted run."""
    file = batch.partial / FACTS
    if batch.resume and file.exists():
        before = json.loads(file.read_text("utf-8"))
        for name, value in facts.items():
            if before.get(name) != value:
                problem = f"--resume: expected {name} {before.get(name)!r} as in {batch.partial}, found {value!r}"
                remedy = "give the model and options of the interrupted run, or start anew without --resume"
                raise ConfigError(problem, remedy)
        return
    for path in batch.partial.iterdir():  # The directory itself is locked.
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with new_file(file) as temporary:
        temporary.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rows(directory: Path, part: int) -> int | None:
    """The number of rows of a finished part; None if it is missing or damaged."""
    try:
        return int(pq.read_metadata(file_of(directory, part)).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _run(engine: Engine, batch: Batch, artifact: Artifact, parts: int, missing: list[int]) -> None:
    """Write the missing parts, one task each; every machine gets the states once, as a file of the session."""
    with tempfile.TemporaryDirectory(prefix="_", dir=batch.partial) as probe:
        check_seen(engine, Path(probe))
    states = f"lists-{uuid.uuid4().hex}.zip"
    share = Share(states, str(batch.partial), batch.choice, artifact.users.num_rows, parts, tuple(missing))
    package = pack_code()
    with tempfile.TemporaryDirectory(prefix="reelgraph-") as folder:
        pack(artifact, Path(folder) / states)
        archive = Path(folder) / f"reelgraph-{hashlib.sha256(package).hexdigest()[:16]}.zip"
        archive.write_bytes(package)
        engine.spark.addArtifacts(str(archive), pyfile=True)
        engine.spark.addArtifacts(str(Path(folder) / states), archive=True)

        def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield from share.write(batches)

        places = engine.spark.range(0, len(missing), 1, len(missing))
        written = {row.part: row.rows for row in places.mapInArrow(write, "part long, rows long").collect()}
    lost = [part for part in missing if written.get(part) is None or _rows(batch.partial, part) != written[part]]
    if lost:
        arrived = f"{len(missing) - len(lost):,}"
        raise EngineError(f"{batch.partial}: expected {len(missing):,} parts from the workers, found {arrived}", SHARE)


def _finish(batch: Batch, facts: Mapping[str, Any], parts: int) -> int:
    """Move the finished parts to the result and write its manifest; returns the number of rows."""
    rows = sum(_rows(batch.partial, part) or 0 for part in range(parts))
    with new_directory(batch.out, KIND, FACTS) as directory:
        for part in range(parts):
            file, target = file_of(batch.partial, part), file_of(directory, part)
            try:  # The parts stay until the result is complete.
                target.hardlink_to(file)
            except OSError:
                shutil.copyfile(file, target)
        text = json.dumps(dict(facts) | {"rows": rows}, indent=2, ensure_ascii=False)
        (directory / FACTS).write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(batch.partial, ignore_errors=True)
    return rows
