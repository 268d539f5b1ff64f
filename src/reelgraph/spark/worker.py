"""The part of writing lists that runs on Spark's workers, whose processes share the states as memory-mapped arrays."""

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
    """The task of the workers."""

    states: str  # name of the archive written by `pack`
    directory: str  # for the parts, shared by all workers
    choice: Choice
    users: int
    parts: int
    missing: tuple[int, ...]  # the parts to write

    def write(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the parts whose indices in `missing` are in the column `id`, and yield their numbers of rows."""
        from pyspark import SparkFiles  # noqa: PLC0415 (on a worker only)

        model = open_packed(SparkFiles.get(self.states))
        for batch in batches:
            for place in batch["id"].to_pylist():
                part = self.missing[place]
                tables = model.recommend_all(users_of(part, self.users, self.parts), **vars(self.choice))
                rows = output.write_lists(tables, model.id_types, file_of(Path(self.directory), part))
                yield pa.record_batch([[part], [rows]], schema=ROWS)


def users_of(part: int, users: int, parts: int) -> slice:
    """The user indices of a part; sizes of parts differ by at most one."""
    return slice(part * users // parts, (part + 1) * users // parts)


def file_of(directory: Path, part: int) -> Path:
    """The file of a part."""
    return directory / f"part-{part:05}.parquet"


def pack(artifact: Artifact, path: Path) -> None:
    """Write the arrays and tables that lists need to an uncompressed zip file."""
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
def open_packed(directory: str) -> Recommender:
    """Open the unpacked archive of `pack`, once per process."""
    folder = Path(directory)
    tables = {name: pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.arrow"))).read_all() for name in TABLES}
    weights = {file.stem: np.load(file, mmap_mode="r") for file in folder.glob("*.npy")}
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return Recommender(Artifact(manifest, weights, **tables, lists_only=True))


def pack_code() -> bytes:
    """This package as a zip file, so that workers run the same code as the driver."""
    top, memory = Path(__file__).parents[1], io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(top.rglob("*.py")):
            # With a constant timestamp, the same code gives the same file.
            archive.writestr(zipfile.ZipInfo(str(file.relative_to(top.parent))), file.read_bytes())
    return memory.getvalue()
