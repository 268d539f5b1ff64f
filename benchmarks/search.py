"""Time of the search of titles: python benchmarks/search.py FOLDER, the folder of ml-latest-small.

The queries are those of tests/recommend/title_queries.csv. Larger catalogues repeat the titles, each time with another
letter in front of every third word. Writes results/search.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from measuring import describe

from reelgraph.data.titles import plain_title, year_in
from reelgraph.recommend.catalogue import Catalogue
from reelgraph.recommend.title_search import TitleIndex

HERE = Path(__file__).resolve().parent
SIZES = (9_742, 60_000)


def index_of(titles: list[str], size: int) -> tuple[TitleIndex, float]:
    """An index of `size` titles, and the seconds it took."""
    rows = []
    for place in range(size):
        title, copy = titles[place % len(titles)], place // len(titles)
        name = " ".join(
            word if copy == 0 or at % 3 else chr(ord("a") + copy) + word
            for at, word in enumerate(plain_title(title).split())
        )
        rows.append((str(place), name, year_in(title)))
    ids, names, years = zip(*rows, strict=True)
    catalogue = Catalogue(pa.table({"movieId": ids, "title": names, "year": pa.array(years, pa.int16())}))
    counts = np.arange(size, 0, -1)
    started = time.perf_counter()
    return TitleIndex(catalogue, counts), time.perf_counter() - started


def main() -> None:
    """Run the queries on both sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    titles = pd.read_csv(folder / "movies.csv")["title"].tolist()
    queries = pd.read_csv(HERE.parent / "tests" / "recommend" / "title_queries.csv")["query"].tolist()
    result = describe("python benchmarks/search.py FOLDER") | {"queries": len(queries)}
    for size in SIZES:
        index, seconds = index_of(titles, size)
        index.find("warming up")  # imports rapidfuzz
        times = []
        for query in queries:
            started = time.perf_counter()
            for _ in range(5):
                index.find(query)
            times.append(200 * (time.perf_counter() - started))
        result[f"{size} titles"] = {
            "index_seconds": round(seconds, 2),
            **{
                name: round(float(value), 2) for name, value in (("mean_ms", np.mean(times)), ("max_ms", np.max(times)))
            },
        }
        print(size, result[f"{size} titles"], queries[int(np.argmax(times))])
    (HERE / "results" / "search.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
