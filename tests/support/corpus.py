"""Seeded bad files, command lines and requests, and what must become of them: a clear line or a right result."""

import csv
import gzip
import io
import json
import math
import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

Command = Callable[..., subprocess.CompletedProcess[str]]
WORDS = (
    "", " ", "0", "-1", "1", "10", "1e400", "nan", "-inf", "NULL", "é", "\u202e", "\udcff", "'", '"', ",", ";", "a b",
    "../..", "/", "/dev/null", "-", "--", "x" * 300, "%s", "\x01", "1-5", "5-1", "1990-", "2000-1990", "9" * 40, "0x10",
    "\uff11", "true", "[]",
)  # fmt: skip
PAGES = (
    "/", "/insights", "/docs", "/metrics", "/health/live", "/health/ready", "/api/movies", "/api/movies/{}",
    "/api/insights", "/api/insights/compare", "/api/movies/{}/similar", "/api/users/{}/recommendations",
    "/api/users/{}", "/api/users/{}/ratings", "/api/users/{}/ratings/{}", "/api/recommendations", "/api/explanations",
    "/api/ratings", "/api/ratings/batch", "/api/visitors", "/api/exports", "/api/admin/reload", "/api/admin/rollback",
    "/static/{}", "/{}", "/api/{}", "/api/catalogue", "/api/questions", "/api/shares", "/api/admin/learning",
)  # fmt: skip
HEADERS = (
    "Content-Type", "Origin", "Authorization", "Cookie", "If-None-Match", "Accept-Encoding", "X-Forwarded-For", "Range",
)  # fmt: skip
HEADER_VALUES = (
    b"", b"x", b"http://[", b"Bearer ", b"Bearer \xff", b"*", b'W/"', b"a=b; c", b"bytes=0-", b"gzip;q=x", b"text/json",
)  # fmt: skip
FIELDS = (
    "ratings", "user", "movie", "rating", "k", "genre", "year", "exclude", "order", "diversity", "offset", "path", "?",
    "hours", "only", "include_seen", "strategy", "together", "calibration",
)  # fmt: skip


class BadFile(NamedTuple):
    """A file and the command that reads it."""

    name: str
    data: bytes
    words: tuple[str, ...]  # {file}, {model} and {out} are paths


class BadRequest(NamedTuple):
    """A request."""

    method: str
    target: str
    headers: dict[str, bytes]
    body: bytes


def rows_of(rng: random.Random) -> list[list[str]]:
    """Ratings of users and movies that the model of the tests knows, with a header."""
    cells = [[str(rng.randint(1, 60)), str(10 * rng.randint(1, 80)), str(rng.randint(1, 5))] for _ in range(40)]
    return [["userId", "movieId", "rating"], *cells]


def _text(rng: random.Random) -> bytes:
    """Ratings with odd cells, headers, quotes, separators and encodings."""
    rows = rows_of(rng)
    for _ in range(rng.choice((0, 1, 3, 60))):
        row = rng.choice(rows[rng.random() < 0.9 :])
        row[rng.randrange(len(row))] = rng.choice(WORDS)
    for _ in range(rng.choice((0, 0, 1, 5))):
        row = rng.choice(rows)
        row.append(rng.choice(WORDS)) if rng.random() < 0.5 else row.pop()
        row += [] if row else ["?"]
    if rng.random() < 0.2:
        rows = rows[1:]
    separator, ending = rng.choice((",", ",", "\t", ";", "::", "|", " ")), rng.choice(("\n", "\n", "\r\n", "\r"))
    text = ending.join(separator.join(row) for row in rows) + rng.choice(("", ending, ending * 3, '"', "\x00"))
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp037"))
    return text.encode(encoding, errors="replace")


def _damaged(rng: random.Random, data: bytes) -> bytes:
    """The same with bytes changed, cut off, repeated or put in."""
    changed, many = bytearray(data), rng.choice((1, 8, 100))
    for _ in range(many):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[place : place + rng.choice((1, 20))]
            case 2:
                changed[place:place] = changed[place : place + 30]
            case 3:
                changed[place:place] = rng.choice((b"\x00", b'"', b"\n", b"\xff\xfe", b",", b"PK\x03\x04"))
    return bytes(changed)


def _json(rng: random.Random) -> bytes:
    names, *rows = rows_of(rng)
    records: list[Any] = [dict(zip(names, row, strict=True)) for row in rows]
    for _ in range(rng.choice((1, 10))):
        record = rng.choice(records)
        if isinstance(record, dict):
            record[rng.choice((*names, "x"))] = rng.choice((None, True, [], {}, [[1]], 1e308, -1, "x", {"a": None}))
        records[rng.randrange(len(records))] = rng.choice((record, None, 3, [], "x"))
    lines = "\n".join(map(json.dumps, records))
    return rng.choice((json.dumps(records), json.dumps({"data": records}), lines, lines[:-9], "[" * 50_000)).encode()


def _parquet(rng: random.Random) -> bytes:
    names, *rows = rows_of(rng)
    columns = [list(column) for column in zip(*rows, strict=True)]
    kinds: tuple[Callable[[list[str]], pa.Array], ...] = (
        pa.array, lambda cells: pa.array(map(float, cells)), lambda cells: pa.array([[cell] for cell in cells]),
        lambda cells: pa.nulls(len(cells)), lambda cells: pa.array([None, math.nan, math.inf, *map(float, cells[3:])]),
        lambda cells: pa.array([{"a": cell} for cell in cells]), lambda cells: pa.array([True] * len(cells)),
        lambda cells: pa.array([cell.encode() for cell in cells]), lambda cells: pa.array(cells).dictionary_encode(),
        lambda cells: pa.array(list(map(int, cells)), pa.timestamp("s")),
    )  # fmt: skip
    arrays = [rng.choice(kinds)(cells) if rng.random() < 0.4 else pa.array(cells) for cells in columns]
    file = io.BytesIO()
    pq.write_table(pa.table(arrays, [rng.choice((name, name, name, "x")) for name in names]), file)
    return file.getvalue()


def _packed(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    if rng.random() < 0.5:
        return ".csv.gz", gzip.compress(data, mtime=0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in rng.sample(
            ("ratings.csv", "movies.csv", "../x.csv", "a/ratings.csv", "u.data"), rng.choice((1, 1, 3))
        ):
            archive.writestr(zipfile.ZipInfo(name), data)
    return ".zip", file.getvalue()


def bad_files(number: int, seed: int = 0) -> list[BadFile]:
    """Files, most of them bad, and commands that read them."""
    rng = random.Random(f"files {seed}")
    commands = (
        ("prepare", "{file}", "--out", "{out}"), ("prepare", "{ratings}", "--items", "{file}", "--out", "{out}"),
        ("prepare", "{ratings}", "--users", "{file}", "--out", "{out}"), ("plan", "{file}"),
        ("prepare", "{ratings}", "--split", "given", "--test", "{file}", "--out", "{out}"),
        ("predict", "{model}", "{file}", "--out", "{out}"), ("evaluate", "{model}", "{file}", "--json"),
        ("recommend", "{model}", "--ratings", "{file}", "-k", "3", "--json"),
        ("recommend", "{model}", "--user", "1", "--deny", "{file}", "--json"),
        ("explain", "{model}", "--ratings", "{file}", "--movie", "10", "--json"),
        ("update", "{model}", "{file}", "--out", "{out}"), ("plan", "{ratings}", "--config", "{file}"),
    )  # fmt: skip
    cases = []
    for place in range(number):
        ending, make = rng.choice(
            ((".csv", _text), (".csv", _text), (".json", _json), (".parquet", _parquet), ("", _text))
        )
        data = make(rng)
        if rng.random() < 0.3:
            data = _damaged(rng, data)
        if rng.random() < 0.15:
            ending, data = _packed(rng, data)
            data = _damaged(rng, data) if rng.random() < 0.3 else data
        ending = rng.choice((ending, ending, ending, ".csv", ".parquet", ".jsonl", ".tsv", ".npz", ".xml", ".toml"))
        cases.append(BadFile(f"f{place}{ending}", data, rng.choice(commands)))
    return cases


def bad_commands(number: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Command lines with odd arguments."""
    rng = random.Random(f"commands {seed}")
    options: dict[str, tuple[str, ...]] = {
        "recommend": (
            "--user", "--ratings", "-k", "--genre", "--year", "--order", "--diversity", "--popularity-penalty",
            "--deny", "--min-ratings", "--allow", "--partitions", "--columns",
        ),
        "prepare": (
            "--columns", "--scale", "--missing", "--split", "--valid-share", "--test-share", "--last", "--items",
            "--test", "--item-columns", "--split-seed", "--stage", "--users",
        ),
        "predict": ("--interval", "--columns"), "similar": ("--movie", "--user", "-k"), "search": ("-k",),
        "explain": ("--user", "--movie", "--ratings"), "evaluate": ("--columns",), "diff": (),
        "plan": ("--config", "--columns", "--dim"), "forget": ("--user",), "report": ("--test",),
        "train": ("--dim", "--l2", "--seed", "--dropout", "--config", "--tune", "--patience", "--model"),
        "export": ("--database",),
    }  # fmt: skip
    files = {"predict": ["{model}", "{ratings}"], "evaluate": ["{model}", "{ratings}"], "search": ["{model}", "movie"]}
    files |= {"plan": ["{ratings}"], "prepare": ["{ratings}"], "diff": ["{model}", "{model}"]}
    files |= {"train": ["{ratings}", "--max-steps", "1", "--tune", "none", "--no-ranking"]}
    good = {"--user": "1", "--movie": "10", "-k": "3", "--order": "stars", "--genre": "Drama", "--year": "1990-1999"}
    cases = []
    for _ in range(number):
        verb = rng.choice(tuple(options))
        words = [verb, *files.get(verb, ["{model}"])]
        for option in rng.sample(options[verb], min(len(options[verb]), rng.choice((0, 1, 2)))):
            words += [option, good.get(option, "1") if rng.random() < 0.3 else rng.choice(WORDS)]
        if verb in {"predict", "prepare", "forget", "report", "train", "export"}:
            words += ["--out", "{out}"]
        if verb in {"recommend", "similar", "explain", "search", "evaluate", "diff"} and rng.random() < 0.7:
            words.append("--json")
        if rng.random() < 0.2:
            words[rng.randrange(1, len(words))] = rng.choice(WORDS)
        cases.append(tuple(words))
    return [words for words in cases if not any("\x00" in word for word in words)]


def bad_requests(number: int, seed: int = 0) -> list[BadRequest]:
    """Requests with odd targets, headers and bodies."""
    rng = random.Random(f"requests {seed}")

    def word() -> str:
        return quote(rng.choice(WORDS).encode(errors="replace"), safe="") or "0"

    def value(depth: int = 0) -> Any:
        kinds: list[Any] = [None, True, 0, -1, 2.5, 1e308, 10**30, "1", "10", "x" * 200, rng.choice(WORDS), [], {}]
        if depth < 2 and rng.random() < 0.4:
            return {rng.choice(("10", "20", "?", "movie", "user")): value(depth + 1) for _ in range(2)}
        return rng.choice(kinds)

    def group() -> dict[str, Any]:
        """People for one list, half of them as they should be."""
        ways: tuple[dict[str, Any], ...] = (
            {"user": "1"}, {"user": rng.choice(WORDS)}, {"share": rng.choice(("v1.x", "a.b.c", *WORDS))},
            {"ratings": {"10": 5, "20": 1}}, {"ratings": value()}, {}, {"user": "1", "ratings": {}},
        )  # fmt: skip
        people = [rng.choice(ways) | rng.choice(({}, {"name": "Ann"}, {"name": value()})) for _ in range(3)]
        given = {
            "ratings": {"10": 4},
            "k": rng.choice((1, 5, 80, 81)),
            "strategy": rng.choice(("fair", "average", "x")),
        }
        return given | {"together": rng.choice((people[:1], people, people * 4, value()))}

    cases = []
    for _ in range(number):
        target = rng.choice(PAGES)
        while "{}" in target:
            target = target.replace("{}", word(), 1)
        if rng.random() < 0.4:
            names = ("q", "k", "genre", "year", "offset", "order", "x")
            target += "?" + "&".join(f"{rng.choice(names)}={word()}" for _ in range(2))
        content = {rng.choice(FIELDS): value() for _ in range(rng.choice((1, 3)))}
        if target == "/api/recommendations" and rng.random() < 0.5:
            content = group()
        body = json.dumps(content).encode()
        odd = (_damaged(rng, body), b"", b"NaN", b'{"ratings": {"10": NaN}}', b"[" * 9999)
        body = rng.choice((body, body, body, *odd))
        headers = {name: rng.choice(HEADER_VALUES) for name in rng.sample(HEADERS, rng.choice((0, 1, 3)))}
        if rng.random() < 0.8:
            headers["Content-Type"] = b"application/json"
        method = rng.choice(("GET", "GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        cases.append(BadRequest(method, target, headers, body if method not in {"GET", "HEAD"} else b""))
    return cases


def run_command(command: Command, words: tuple[str, ...], model: Path, ratings: Path, folder: Path) -> str:
    """What is wrong with the end of a command, or nothing."""
    out = folder / "out"
    places = {"model": str(model), "ratings": str(ratings), "out": str(out), "file": str(folder / "file")}
    called = [word.format(**places) if word.startswith("{") else word for word in words]
    before = {path.name for path in folder.iterdir()}
    done = command(*called, cwd=folder)
    left = {path.name for path in folder.iterdir()} - before
    try:
        return _judge(done, out, left)
    finally:
        for name in left:
            place = folder / name
            shutil.rmtree(place) if place.is_dir() else place.unlink()


def _judge(done: subprocess.CompletedProcess[str], out: Path, left: set[str]) -> str:
    if done.returncode not in {0, 2} or "Traceback" in done.stderr:
        return f"exit code {done.returncode}: {done.stderr[-400:]}"
    if done.returncode == 2:
        last = done.stderr.splitlines()[-1:]
        if not last or not last[0].startswith("error: ") or done.stderr.count("\nerror: ") > 1:
            return f"no line of an error: {done.stderr[-400:]!r}"
        return f"left behind: {left}" if left else ""
    try:
        if done.stdout.startswith(("{", "[")):
            json.loads(done.stdout, parse_constant=_refuse)
        if out.is_file() and out.read_bytes()[:1] != b"<":
            with out.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                if not all(math.isfinite(float(row["prediction"])) for row in rows if "prediction" in row):
                    return "a prediction is not finite"
        if (out / "manifest.json").is_file():
            json.loads((out / "manifest.json").read_text(), parse_constant=_refuse)
    except ValueError as error:
        return f"unusable result: {error}"
    return ""


def _refuse(constant: str) -> None:
    raise ValueError(f"found {constant}")


def run_file(command: Command, case: BadFile, model: Path, ratings: Path, folder: Path) -> str:
    """What is wrong with the end of a command that reads a bad file, or nothing."""
    (folder / case.name).write_bytes(case.data)
    words = tuple(str(folder / case.name) if word == "{file}" else word for word in case.words)
    try:
        return run_command(command, words, model, ratings, folder)
    finally:
        (folder / case.name).unlink()


def run_request(client: httpx.Client, case: BadRequest) -> str:
    """What is wrong with the response to a request, or nothing."""
    try:
        headers = [(name.encode(), value) for name, value in case.headers.items()]
        answer = client.request(case.method, case.target, headers=headers, content=case.body)
    except (httpx.InvalidURL, httpx.LocalProtocolError):  # The client does not send it.
        return ""
    if answer.status_code >= 500:
        return f"status {answer.status_code}: {answer.text[:200]}"
    if "json" in answer.headers.get("content-type", "") and answer.content:
        try:
            content = json.loads(answer.content, parse_constant=_refuse)
        except ValueError as error:
            return f"no JSON: {error}"
        if answer.status_code >= 400 and set(content) != {"error"}:
            return f"another form of an error: {answer.text[:200]}"
    return ""
