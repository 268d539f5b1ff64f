"""A worker's share of everyone's lists: the states come with the job, each part goes to a file of its own. No torch.

The states are packed as plain arrays that are mapped into memory where they are unpacked: the Python processes of a
machine share them, and each holds little more of its own than a block of scores.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from reelgraph.artifact import TABLES, Artifact
from reelgraph.recommend import output
from reelgraph.recommend.lists import Choice
from reelgraph.recommend.recommender import Recommender

ROWS = pa.schema([("part", pa.int64()), ("rows", pa.int64())])


@dataclass(frozen=True)
class Share:
    """What every worker is told.

    Attributes:
        states: name of the archive that `pack` made.
        directory: where the parts go, seen by every worker.
        choice: what lists are wanted.
        users: how many users there are.
        parts: how many parts their lists are cut into.
        missing: the parts that are to be made.
    """

    states: str
    directory: str
    choice: Choice
    users: int
    parts: int
    missing: tuple[int, ...]

    def make(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Make the parts whose places in `missing` are in the batches' column `id`; tells how many rows each has."""
        from pyspark import SparkFiles  # noqa: PLC0415 (on a worker only)

        model = opened(SparkFiles.get(self.states))
        for batch in batches:
            for place in batch["id"].to_pylist():
                part = self.missing[place]
                tables = model.recommend_all(users_of(part, self.users, self.parts), **vars(self.choice))
                rows = output.write_lists(tables, model.id_types, file_of(Path(self.directory), part))
                yield pa.record_batch([[part], [rows]], schema=ROWS)


def users_of(part: int, users: int, parts: int) -> slice:
    """The users of a part, by index; parts differ by one user at most."""
    return slice(part * users // parts, (part + 1) * users // parts)


def file_of(directory: Path, part: int) -> Path:
    """Where the lists of a part are."""
    return directory / f"part-{part:05}.parquet"


def pack(artifact: Artifact, path: Path) -> None:
    """Write what lists need as a zip of arrays and Arrow files, not compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

        def entry(name: str) -> IO[bytes]:
            return archive.open(name, "w", force_zip64=True)

        with entry("manifest.json") as file:
            file.write(json.dumps(artifact.manifest).encode())
        for name, array in artifact.weights.items():
            with entry(f"{name}.npy") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        for name in TABLES:
            table: pa.Table = getattr(artifact, name).combine_chunks()
            with entry(f"{name}.arrow") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)


@lru_cache(maxsize=1)
def opened(directory: str) -> Recommender:
    """A model from what `pack` packed, opened once by each process of a worker."""
    folder = Path(directory)
    tables = {name: pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.arrow"))).read_all() for name in TABLES}
    weights = {file.stem: np.load(file, mmap_mode="r") for file in folder.glob("*.npy")}
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return Recommender(Artifact(manifest, weights, **tables, lists_only=True))


def code() -> bytes:
    """This package as a zip, so that workers run the same code, whatever they have installed."""
    top, memory = Path(__file__).parents[1], io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(top.rglob("*.py")):
            # One time for all, so that the same code is the same file.
            archive.writestr(zipfile.ZipInfo(str(file.relative_to(top.parent))), file.read_bytes())
    return memory.getvalue()
