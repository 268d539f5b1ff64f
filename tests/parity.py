"""Two Prepared directories are equal, row by row."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from reelgraph.data.dataset import load_prepared

FILES = ("ratings", "users", "items", "rejects")


def compare(one: Path, other: Path) -> None:
    for name in FILES:
        first, second = pq.read_table(one / f"{name}.parquet"), pq.read_table(other / f"{name}.parquet")
        assert first.column_names == second.column_names, name
        assert [str(kind) for kind in first.schema.types] == [str(kind) for kind in second.schema.types], name
        assert first.to_pylist() == second.to_pylist(), name
    manifests: list[dict[str, Any]] = [load_prepared(path).manifest for path in (one, other)]
    for key in manifests[0].keys() - {"created", "engine"}:
        assert manifests[0][key] == manifests[1][key], key
