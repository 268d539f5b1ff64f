"""Side columns as numbers: genres, years, ages, occupations, whatever a table holds that groups its rows."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelgraph.arrays import Float32s, Float64s

MOST_VALUES = 60  # text with more distinct values, such as titles and zip codes, names rows instead of grouping them

BANDS = 8

MOST_NUMBERS = 30  # codes, such as an occupation's, are told from measures, such as an age, by how many there are

LEAST_ROWS = 3


def encode(table: pa.Table, known: int | None = None) -> tuple[Float32s, list[str]] | None:
    """Indicator columns from the side columns of a table.

    Text with "|" is a set, with one column a member; other text has one column a value; numbers with more than
    `MOST_NUMBERS` values fall into `BANDS` bands of equally many rows. Ids, columns with one value, indicators of fewer
    than `LEAST_ROWS` rows and text with more than `MOST_VALUES` values are left out. An empty cell has no indicator.

    Args:
        table: one row a node, in index order; the ids are columns `userId` or `movieId`.
        known: number of the first rows that settle what the features are, all when not given; those after them are
            only encoded.

    Returns:
        A matrix of 0 and 1, float32 of shape `(num_rows, num_features)`, and the features' names such as
        "genres=Drama"; None when no feature is left.
    """
    found: dict[str, Float32s] = {}
    known = table.num_rows if known is None else known
    for name in table.column_names:
        if name not in {"userId", "movieId", "title"}:
            cells = table[name].to_pylist()
            found |= {f"{name}={value}": column for value, column in _indicators(cells, known).items()}
    kept = {name: column for name, column in found.items() if LEAST_ROWS <= column[:known].sum() < known}
    if not kept:
        return None
    return np.stack(list(kept.values()), axis=1), list(kept)


def _indicators(cells: list[str | int | float | None], known: int) -> dict[str, Float32s]:
    texts = [None if cell is None or cell == "" else str(cell) for cell in cells]
    if any(text is not None and "|" in text for text in texts[:known]):
        return _sets([() if text is None else tuple(text.split("|")) for text in texts], known)
    values = {text for text in texts[:known] if text is not None}
    if len(values) > MOST_NUMBERS and numbers(pa.array(texts[:known], pa.string())) is not None:
        return _bands(_numbers_or_nothing(texts), known)
    if len(values) > MOST_VALUES:
        return {}
    return _sets([() if text is None else (text,) for text in texts], known)


def _numbers_or_nothing(texts: list[str | None]) -> Float64s:
    """Texts as numbers, NaN for what is none."""
    found = numbers(pa.array(texts, pa.string()))
    if found is None:
        each = [numbers(pa.array([text], pa.string())) for text in texts]
        found = np.asarray([np.nan if one is None else one[0] for one in each])
    return found


def _sets(rows: list[tuple[str, ...]], known: int) -> dict[str, Float32s]:
    members = sorted({member for row in rows[:known] for member in row})
    columns = {member: np.zeros(len(rows), np.float32) for member in members[: 4 * MOST_VALUES]}
    for place, row in enumerate(rows):
        for member in row:
            if member in columns:
                columns[member][place] = 1
    return columns


def numbers(column: pa.Array | pa.ChunkedArray) -> Float64s | None:
    """A column as numbers, float64 of its length with NaN for empty cells; None if a cell is no number."""
    try:
        found: Float64s = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        return None
    return found


def _bands(measures: Float64s, known: int) -> dict[str, Float32s]:
    finite = measures[:known][np.isfinite(measures[:known])]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BANDS + 1)))
    inside = np.maximum(measures, edges[0])  # What comes later may be less than all that is known.
    edges[-1] = np.inf
    return {
        f"{low:g}-{high:g}": ((inside >= low) & (inside < high)).astype(np.float32) for low, high in pairwise(edges)
    }
