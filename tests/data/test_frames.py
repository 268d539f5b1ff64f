"""DataFrames and Python values give the same data set as the files that hold them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from scipy.sparse import coo_matrix

from reelgraph.data.dataset import Dataset
from reelgraph.data.frames import as_arrow, is_frame
from reelgraph.data.load import load
from reelgraph.errors import DataError

NAMES = ("userId", "movieId", "rating", "timestamp")


@pytest.fixture(scope="module")
def arrow(tables: Path) -> pa.Table:
    return pacsv.read_csv(tables / "ratings.csv").select(
        [name for name in NAMES if name in pacsv.read_csv(tables / "ratings.csv").column_names]
    )


FORMS: dict[str, Any] = {
    "arrow": lambda table: table,
    "record batches": lambda table: pa.RecordBatchReader.from_batches(table.schema, table.to_batches()),
    "pandas": lambda table: table.to_pandas(),
    "pandas with the user as index": lambda table: table.to_pandas().set_index("userId"),
    "pandas objects": lambda table: table.to_pandas().astype(object),
    "mapping of lists": lambda table: table.to_pydict(),
    "mapping of arrays": lambda table: {name: table[name].to_numpy() for name in table.column_names},
    "tuples": lambda table: list(zip(*table.to_pydict().values(), strict=True)),
    "dicts": lambda table: table.to_pylist(),
    "numpy records": lambda table: table.to_pandas().to_records(index=False),
    "run-end encoded": lambda table: table.set_column(0, "userId", pc.run_end_encode(table["userId"])),
    "polars": polars.DataFrame,
    "polars with categories": lambda table: polars.DataFrame(table).with_columns(
        polars.col("movieId").cast(polars.String).cast(polars.Categorical)
    ),
    "lazy": lambda table: polars.DataFrame(table).lazy(),
}


def facts(data: Dataset) -> tuple[Any, ...]:
    splits = (data.train, data.valid, data.test)
    return (
        data.users.ids.to_pylist(), data.items.ids.to_pylist(), data.scale, data.manifest["split"]["fingerprints"],
        [part.rating.tolist() for part in splits],
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_frame_is_read_like_the_file(form: str, arrow: pa.Table, tmp_path: Path) -> None:
    pq.write_table(arrow, tmp_path / "r.parquet")
    assert facts(load(FORMS[form](arrow))) == facts(load(tmp_path / "r.parquet"))


def test_side_tables_and_test_ratings_may_be_frames(arrow: pa.Table, tables: Path) -> None:
    movies = pd.read_csv(tables / "movies.csv")
    data = load(arrow, items=movies, test=arrow.slice(0, 10).to_pandas())
    assert len(data.test) == 10
    assert data.item_table.equals(load(arrow, items=tables / "movies.csv").item_table)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"who": ["a"], "what": ["b"]}, "ratings: "),
        (3, "int"),
        (["ab"], "row 1"),
        ([(1, 2, 3.0), (1, 2)], "2 and 3 cells"),
        ({"userId": [1, 2], "movieId": [1], "rating": [1.0, 2.0]}, "ratings: "),
    ],
)
def test_other_types_are_refused_by_name(value: object, said: str) -> None:
    with pytest.raises(DataError) as refused:
        load(value)
    assert said in str(refused.value)
    assert ".parquet" not in str(refused.value)


def test_repeated_names_and_sparse_matrices_are_refused() -> None:
    frame = pd.DataFrame([(1, 2, 3.0, 4.0)], columns=["userId", "movieId", "rating", "rating"])
    with pytest.raises(DataError, match="found 'rating' twice"):
        as_arrow(frame, NAMES, "ratings")
    with pytest.raises(DataError, match="found coo_matrix"):
        as_arrow(coo_matrix(np.eye(3)), NAMES, "ratings")


def test_mixed_columns_become_text_and_missing_cells_stay_missing() -> None:
    table = as_arrow(pd.DataFrame({"userId": [1, "a", None], "movieId": [1.0, np.nan, 3]}), NAMES, "pairs")
    assert table.to_pydict() == {"userId": ["1", "a", None], "movieId": [1.0, None, 3.0]}


@pytest.mark.parametrize("value", [pd.Series({"1": 5.0}), {"1": 5.0}, "r.csv", Path("r.csv"), [(1, 2)], pd.DataFrame])
def test_values_that_are_not_frames(value: object) -> None:
    assert not is_frame(value)
