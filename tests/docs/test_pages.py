"""Every code block of README.md and docs/ runs, and prints what the page shows.

`REELGRAPH_WRITE_DOCS=1 pytest tests/docs/test_pages.py` writes what is printed into the pages.
`REELGRAPH_SAMPLE_MODEL` may name a model of the bundled sample, which is otherwise trained once.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import reelgraph
from reelgraph.cli.main import commands as program
from reelgraph.service.database.connection import address
from reelgraph.service.database.store import Store
from tests.docs import pages
from tests.docs.pages import (
    ALIKE,
    CONNECT,
    DATABASE,
    FILMS,
    MASTER,
    PARSED,
    ROOT,
    RUN,
    SHARED,
    Block,
    Reader,
    alike,
    blocks,
    files_of,
)
from tests.support.commands import CommandLine
from tests.support.databases import PASSWORD
from tests.support.programs import postgresql_programs

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")], key=lambda path: path.relative_to(ROOT).as_posix())
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
MOVIELENS = {"ml-100k", "ml-1m", "ml-latest-small"}


def code_of(name: str) -> str:
    """The code of a page that is run."""
    return "".join(block.code for block in blocks((ROOT / name).read_text("utf-8")) if block.reason is None)


def needs(name: str) -> set[str]:
    """The markers of a page by what its code needs."""
    code = code_of(name)
    spark = any(sign in code for sign in (MASTER, CONNECT, "pyspark", "local["))
    return {marker for marker, needed in (("spark", spark), ("postgresql", DATABASE.search(code))) if needed}


@pytest.fixture(scope="session")
def sample_model(command: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A model of the bundled sample, trained as README.md does, for the first page that needs it."""
    out = Path(os.environ.get("REELGRAPH_SAMPLE_MODEL") or tmp_path_factory.mktemp("sample") / "model")

    def model() -> Path:
        if not out.exists():
            done = command("train", "--out", out)
            assert done.returncode == 0, done.stderr
        return out

    return model


@pytest.fixture(scope="session")
def readers_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that a reader brings, cut from the bundled sample."""
    path = tmp_path_factory.mktemp("files")
    sample = Path(reelgraph.__file__).parent / "data" / "sample"
    ratings = pq.read_table(sample / "ratings.parquet")
    ratings = ratings.filter(pc.less_equal(ratings["userId"], 60))
    held_out = pa.array([row % 10 == 0 for row in range(ratings.num_rows)])
    test = ratings.filter(held_out)
    known = ratings.filter(pc.invert(held_out))
    pacsv.write_csv(known, path / "ratings.csv")
    pq.write_table(known, path / "ratings.parquet")
    pq.write_table(known, path / "all.parquet")
    pacsv.write_csv(
        pa.table(
            {
                "who": known["userId"],
                "what": known["movieId"],
                "stars": pc.multiply(known["rating"], 2),
                "when": known["timestamp"],
            }
        ),
        path / "reviews.csv",
    )
    pacsv.write_csv(test, path / "test.csv")
    pacsv.write_csv(test.select(["userId", "movieId"]), path / "pairs.csv")
    pacsv.write_csv(pq.read_table(sample / "movies.parquet"), path / "movies.csv")
    pacsv.write_csv(test.slice(0, 20), path / "new-ratings.csv")
    store = Store.open(address(str(path / "model.ratings.sqlite")))
    store.put("Zoë", {"260": 5.0, "1210": 4.0})
    store.close()
    rows = zip(test["userId"].to_pylist(), test["movieId"].to_pylist(), strict=True)
    plays = [f"{user}\t{movie}\t{1 + movie % 5}\n" for user, movie in rows]
    (path / "plays.tsv").write_text("".join(["userId\tmovieId\tplays\n", *plays]), encoding="utf-8")
    movies = pq.read_table(sample / "movies.parquet").to_pylist()
    rows_of_imdb = [f"{row['movieId']}\tmovie\t{row['title']}\t{row['year'] or chr(92) + 'N'}\n" for row in movies]
    head = "tconst\ttitleType\tprimaryTitle\tstartYear\n"
    (path / "title.basics.tsv").write_text("".join([head, *rows_of_imdb]), encoding="utf-8")
    shutil.copytree(ROOT / "benchmarks" / "results" / "bench", path / "results")
    (path / "watched.csv").write_text("movieId\n1210\n", encoding="utf-8")
    (path / "my-ratings.csv").write_text("movieId,rating\n260,5\n1198,4.5\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def reader(
    tmp_path: Path,
    command: CommandLine,
    sample_model: Callable[[], Path],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Reader]:
    reader = Reader(tmp_path, command, sample_model, trained, monkeypatch)
    yield reader
    reader.close()


def machines(name: str, reader: Reader, request: pytest.FixtureRequest) -> None:
    """Start what a page needs, and tell the reader where it is."""
    reader.places |= {SHARED: str(reader.folder), FILMS: str(reader.folder)}
    (reader.folder / "tmp").mkdir()
    text = code_of(name)
    if MASTER in text:
        reader.places[MASTER] = request.getfixturevalue("cluster").url
    if CONNECT in text:
        reader.places[CONNECT] = request.getfixturevalue("connect_server")
    if "postgresql" in needs(name):
        server = request.getfixturevalue("postgresql_server")
        server.execute("DROP DATABASE IF EXISTS ratings")
        if "createdb" not in text:
            server.execute("CREATE DATABASE ratings")
        for variable, value in {"PGHOST": str(server.folder), "PGUSER": "owner", "PGPASSWORD": PASSWORD}.items():
            reader.patch.setenv(variable, value)
        reader.patch.setenv("PATH", str(postgresql_programs()), prepend=os.pathsep)
        for match in DATABASE.finditer(text):
            reader.places[match[0]] = "postgresql+psycopg:///ratings"


def bring(file: str, reader: Reader, request: pytest.FixtureRequest, readers_files: Path) -> None:
    """Put a file of the reader's into their folder."""
    place = reader.folder / file
    if file in {"model", "earlier"}:
        shutil.copytree(reader.sample_model(), place)
    elif file in MOVIELENS:
        folder = request.getfixturevalue("movielens")
        reader.patch.setenv("REELGRAPH_DATA", str(folder))  # else `bench` downloads them
        place.symlink_to(folder / file)
    elif (readers_files / file).is_dir():
        shutil.copytree(readers_files / file, place)
    else:
        shutil.copy(readers_files / file, place)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[getattr(pytest.mark, marker) for marker in needs(name)]) for name in NAMES]
)
def test_the_code_of_a_page_runs(
    name: str, reader: Reader, readers_files: Path, request: pytest.FixtureRequest
) -> None:
    page = ROOT / name
    machines(name, reader, request)
    for file in files_of(page.read_text(encoding="utf-8")):
        bring(file, reader, request, readers_files)
    outputs = reader.read(page)
    if os.environ.get("REELGRAPH_WRITE_DOCS"):
        page.write_text(pages.with_outputs(page.read_text(encoding="utf-8"), outputs), encoding="utf-8")
        return
    for block, printed in outputs:
        assert alike(block.code, printed) >= ALIKE, f"{name}:{block.line} shows\n{block.code}\nnot\n{printed}"


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_run_or_says_why_not(name: str) -> None:
    previous = None
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        output = block.language == "text" and previous in RUN
        drawing = block.language in {"mermaid", "formula"}
        known = block.language in RUN | PARSED or output or drawing or block.reason is not None
        assert known, f"{name}:{block.line}: {block.language or 'indented'} block is neither run nor explained"
        previous = block.language


def test_every_command_is_documented_with_an_example() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^reelgraph ([a-z]+)", text, re.MULTILINE))
    assert shown == program.modules.keys()


def test_the_harness_notices_mistakes(reader: Reader) -> None:
    page = "```sh\nreelgraph doctorr\n```\n"
    with pytest.raises(AssertionError, match="doctorr"):
        reader.run(blocks(page)[0])
    with pytest.raises(NameError):
        reader.run(Block("python", "nothing", 1, (0, 1)))
    assert blocks("<!-- not run: needs Caddy -->\n```sh\ncaddy\n```\n")[0].reason == "needs Caddy"
    assert blocks("<!-- not run: needs Caddy -->\nText.\n\n```sh\ncaddy\n```\n")[0].reason is None
    assert alike("1 318 The Shawshank Redemption 4.63", "1 593 Fargo 4.1") < ALIKE
