"""Side columns of users and movies (genres, year, age, ...) as 0/1 features."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.arrays import Float32s, Float64s

MOST_VALUES = 60  # text with more distinct values, such as titles or zip codes, does not group rows
BANDS = 8
MOST_NUMBERS = 30  # numbers with at most as many values are codes, such as occupations, else measures, such as ages
LEAST_ROWS = 3
NO_FEATURES = {"userId", "movieId", "title", "imdbId", "tmdbId"}


def encode(table: pa.Table, known: int | None = None) -> tuple[Float32s, list[str]] | None:
    """Encode the side columns of a table as 0/1 features.

    Text with "|" is a set with one feature per member; other text has one feature per value; numbers with more than
    `MOST_NUMBERS` values are cut into `BANDS` quantile bands. Ids, titles, features of fewer than `LEAST_ROWS` rows or
    of all rows, and text with more than `MOST_VALUES` values are left out. An empty cell has no feature.

    Args:
        table: one row per user or movie, in index order.
        known: number of leading rows that determine the features; later rows are only encoded. All by default.

    Returns:
        A 0/1 matrix, float32 of shape `(num_rows, num_features)`, and the feature names, such as "genres=Drama"; None
        if no feature is left.
    """
    features: dict[str, Float32s] = {}
    known = table.num_rows if known is None else known
    for name in table.column_names:
        if name not in NO_FEATURES:
            cells = table[name].to_pylist()
            features |= {f"{name}={value}": column for value, column in _indicators(cells, known).items()}
    kept = {name: column for name, column in features.items() if LEAST_ROWS <= column[:known].sum() < known}
    if not kept:
        return None
    return np.stack(list(kept.values()), axis=1), list(kept)


def _indicators(cells: list[str | int | float | None], known: int) -> dict[str, Float32s]:
    texts = [None if cell is None or cell == "" else str(cell) for cell in cells]
    if any(text is not None and "|" in text for text in texts[:known]):
        return _sets([() if text is None else tuple(text.split("|")) for text in texts], known)
    values = {text for text in texts[:known] if text is not None}
    if len(values) > MOST_NUMBERS and numbers(pa.array(texts[:known], pa.string())) is not None:
        return _bands(_numbers_or_nan(texts), known)
    if len(values) > MOST_VALUES:
        return {}
    return _sets([() if text is None else (text,) for text in texts], known)


def _numbers_or_nan(texts: list[str | None]) -> Float64s:
    values = numbers(pa.array(texts, pa.string()))
    if values is not None:
        return values
    cells = [numbers(pa.array([text], pa.string())) for text in texts]
    return np.asarray([np.nan if cell is None else cell[0] for cell in cells])


def _sets(rows: list[tuple[str, ...]], known: int) -> dict[str, Float32s]:
    members = sorted({member for row in rows[:known] for member in row})
    columns = {member: np.zeros(len(rows), np.float32) for member in members[: 4 * MOST_VALUES]}
    for place, row in enumerate(rows):
        for member in row:
            if member in columns:
                columns[member][place] = 1
    return columns


def numbers(column: pa.Array | pa.ChunkedArray) -> Float64s | None:
    """A column as float64 with NaN for empty cells; None if a cell is not a number."""
    try:
        values: Float64s = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        return None
    return values


def _bands(measures: Float64s, known: int) -> dict[str, Float32s]:
    finite = measures[:known][np.isfinite(measures[:known])]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BANDS + 1)))
    inside = np.maximum(measures, edges[0])  # Later rows may lie below all known ones.
    edges[-1] = np.inf
    return {
        f"{low:g}-{high:g}": ((inside >= low) & (inside < high)).astype(np.float32) for low, high in pairwise(edges)
    }
