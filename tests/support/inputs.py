"""The same ratings written in every format that people have."""

import codecs
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

Row = tuple[int, int, float, int]  # user, movie, stars, seconds

ROWS: list[Row] = [
    (user, movie, ((user * 7 + movie * 3) % 9 + 2) / 2, 1_500_000_000 + 1000 * user + movie)
    for user in range(1, 25)
    for movie in range(1, 21)
    if (user * movie) % 3
]

HEAD = "userId,movieId,rating,timestamp"
MOVIES = "movieId,title\n" + "".join(f'{movie},"Film, {movie}"\n' for movie in range(1, 21))


def lines(rows: Iterable[Sequence[object]], separator: str = ",", end: str = "\n") -> str:
    """Rows without quotes."""
    return "".join(separator.join(map(str, row)) + end for row in rows)


def as_csv(rows: Iterable[Sequence[object]], head: str = HEAD) -> str:
    """Rows as Python's csv writes them."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([head.split(","), *rows])
    return buffer.getvalue()


PLAIN = HEAD + "\n" + lines(ROWS)


def _with_comma(row: Row) -> tuple[int, int, str]:
    return row[0], row[1], f"{row[2]:g}".replace(".", ",")


def _notes(row: int) -> str:
    return {3: '"so good', 9: 'I was 5"', 40: '"why', 41: '"', 77: 'a "b" c', 80: '"x"y'}.get(row, "fine")


def _long(row: int) -> str:
    return f'a first line of words, {row}\nthen "this"\n\nand the end' * (row % 4)


def _zip(files: Mapping[str, str]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)

    return write


def _folder(files: Mapping[str, str | bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            _text(content)(path / name)

    return write


def _text(content: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _netflix() -> str:
    by_movie: dict[int, list[str]] = {}
    for user, movie, stars, _ in ROWS:
        by_movie.setdefault(movie, []).append(f"{user},{int(stars)},2005-09-06\n")
    return "".join(f"{movie}:\n{''.join(ratings)}" for movie, ratings in by_movie.items())


_TABLES = {"ratings": PLAIN, "movies": MOVIES}
_OBJECTS = [
    {"reviewerID": str(u), "asin": str(m), "overall": r, "unixReviewTime": t, "text": 'a "b"\n'} for u, m, r, t in ROWS
]
_NOTES = [(_notes(n), *row[:3], _notes(n)) for n, row in enumerate(ROWS)]
_LAST = as_csv(((*row, _long(n)) for n, row in enumerate(ROWS)), HEAD + ",text")
_MIDDLE = as_csv(((u, _long(n), m, r, t) for n, (u, m, r, t) in enumerate(ROWS)), "user,text,item,rating,time")
_COMMAS = [("user", "item", "rating"), *map(_with_comma, ROWS)]
_TYPED = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
_PARTS = [HEAD + "\n" + lines(ROWS[n::3]) for n in range(3)]

# Writers by file name; all hold `ROWS`, but some have whole stars, and some no times.
INPUTS: dict[str, Callable[[Path], None]] = {
    "plain.csv": _text(PLAIN),
    "RATINGS.CSV": _text(PLAIN),
    "notes.tsv": _text("a\tuser\titem\trating\tnote\n" + lines(_NOTES, "\t")),
    "notes.csv": _text("user,item,rating,note\n" + lines(row[1:] for row in _NOTES)),
    "last.csv": _text(_LAST),
    "middle.csv.gz": _text(gzip.compress(_MIDDLE.encode())),
    "utf16.csv": _text(lines([HEAD.split(","), *ROWS], "\t", "\r\n").encode("utf-16")),
    "sep.csv": _text("sep=;\r\n" + lines([HEAD.split(","), *ROWS], ";", "\r\n")),
    "comma.csv": _text(codecs.BOM_UTF8 + lines(_COMMAS, ";", "\r\n").encode()),
    "quoted-comma.csv": _text(as_csv(_COMMAS[1:], "user,item,rating")),
    "blanks.txt": _text("".join(f"{u:>5} {m:>4}  {r}\n" for u, m, r, _ in ROWS)),
    "headerless.csv": _text(lines(ROWS)),
    "time-first.csv": _text(lines((t, u, m, r) for u, m, r, t in ROWS)),
    "ratings.csv.zip": _zip({"ratings.csv": PLAIN}),
    "ml.zip": _zip({"ml/ratings.csv": PLAIN, "ml/movies.csv": MOVIES, "ml/README.txt": "Read me."}),
    "gz": _folder({f"{name}.csv.gz": gzip.compress(text.encode()) for name, text in _TABLES.items()}),
    "capitals": _folder({"Ratings.CSV": PLAIN, "MOVIES.csv": MOVIES, "LICENSE.TXT": "Free."}),
    "parts": _folder({f"part-{n}.csv": text for n, text in enumerate(_PARTS)} | {"_SUCCESS": ""}),
    "gz-parts": _folder({f"part-{n}.csv.gz": gzip.compress(text.encode()) for n, text in enumerate(_PARTS)}),
    "reviews.jsonl": _text("".join(json.dumps(row) + "\n" for row in _OBJECTS)),
    "reviews.json.gz": _text(gzip.compress(json.dumps(_OBJECTS, indent=1).encode())),
    "table.json": _text(json.dumps({"version": 1, "ratings": _OBJECTS})),
    "literals.json": _text("".join(f"{row!r}\n" for row in _OBJECTS)),
    "mini.inter": _text(_TYPED + lines(ROWS, "\t")),
    "combined_data_1.txt": _text(_netflix()),
}

WHOLE_STARS = {"combined_data_1.txt"}

WITH_TITLES = {"ml.zip", "gz", "capitals"}


def write_input(folder: Path, name: str) -> Path:
    """Write an input of that name."""
    INPUTS[name](folder / name)
    return folder / name


def expected(name: str) -> set[tuple[str, str, float]]:
    """The ratings in an input, by user and movie id."""
    return {(str(u), str(m), float(int(r)) if name in WHOLE_STARS else r) for u, m, r, _ in ROWS}
