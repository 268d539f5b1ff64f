"""Output streams that fail, encodings that lack characters, unusual paths, and interrupts."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelgraph import artifact
from tests.support.clusters import until
from tests.support.commands import CommandLine

FULL = Path("/dev/full")
PYTHON = [sys.executable, "-m", "reelgraph"]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a Python of its own, where `command` would not do; bytes that are not UTF-8 are surrogates."""
    words = [argument if isinstance(argument, bytes) else str(argument) for argument in arguments]
    extra = options.pop("env", {})
    assert isinstance(extra, dict)
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": {**os.environ, **extra}} | options
    settings |= {"encoding": "utf-8", "errors": "surrogateescape"}
    return subprocess.run([*PYTHON, *words], check=False, **settings)  # type: ignore[call-overload, no-any-return]


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one error of a refused command; the report on its files may stand before it."""
    assert done.returncode == 2, done.stderr
    *report, line = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert not any(text.startswith(("error", "Traceback")) for text in report)
    return line


@pytest.fixture(scope="module")
def accents(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small model in which every title holds an é."""
    model = artifact.read_artifact(model_dir)
    titles = pa.array([f"Amélie {row}" for row in range(model.items.num_rows)])
    place = model.items.column_names.index("title")
    out = tmp_path_factory.mktemp("accents") / "model"
    artifact.write_artifact(replace(model, items=model.items.set_column(place, "title", titles)), out)
    return out


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_full_stdout_is_one_line(command: CommandLine, model_dir: Path, option: list[str]) -> None:
    line = error_of(command("recommend", model_dir, "--user", 1, "-k", 80, *option, stdout=FULL))
    assert "No space left on device" in line


def test_help_on_a_full_stdout_is_one_line() -> None:
    with FULL.open("wb") as full:
        assert "No space left on device" in error_of(run("--help", stdout=full))


@pytest.mark.parametrize("words", [["--help"], ["recommend", "--help"], ["recommend", "MODEL", "--user", "1"]])
def test_a_closed_pipe_is_no_error(model_dir: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(*(model_dir if word == "MODEL" else word for word in words), stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed(model_dir: Path, tmp_path: Path, closed: str) -> None:
    script = f'exec "$@" {closed}'
    words = [*PYTHON, "recommend", model_dir, "--all", "--out", tmp_path / "lists.parquet"]
    done = subprocess.run(["bash", "-c", script, "bash", *map(str, words)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "lists.parquet").num_rows > 0


def test_a_stderr_that_cannot_be_written_keeps_the_exit_code(command: CommandLine, model_dir: Path) -> None:
    assert command("recommend", model_dir, "--user", "nobody", stderr=FULL).returncode == 2


def test_characters_that_stdout_lacks_are_replaced(command: CommandLine, accents: Path) -> None:
    done = run("recommend", accents, "--user", 1, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "Am?lie" in done.stdout
    done = run("recommend", accents, "--user", 1, "--json", env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout)[0]["title"].startswith("Amélie")
    assert "Amélie" in command("recommend", accents, "--user", 1, "--json").stdout


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("coerced", ["0", "1"])
def test_names_that_are_not_utf8_are_shown_as_they_are(model_dir: Path, locale: str, coerced: str) -> None:
    variables = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": coerced, "PYTHONUTF8": coerced}
    done = run("predict", model_dir, b"nope\xff.csv", "--out", "o.csv", env=variables)
    assert os.fsdecode(b"nope\xff.csv: expected a file, found none") in error_of(done)


def test_files_whose_names_are_not_utf8_are_used_or_refused(
    command: CommandLine, model_dir: Path, tables: Path, tmp_path: Path
) -> None:
    def odd(name: bytes) -> Path:
        return tmp_path / os.fsdecode(name)

    ratings = shutil.copy(tables / "ratings.csv", odd(b"r\xff.csv"))
    for words in (
        ("prepare", ratings, "--out", tmp_path / "p"),
        ("evaluate", model_dir, ratings),
        ("recommend", model_dir, "--all", "--out", odd(b"l\xff.parquet")),
        ("predict", model_dir, ratings, "--out", odd(b"p\xff.csv")),
    ):
        done = command(*words, cwd=tmp_path)
        if done.returncode:
            assert "\ufffd" in error_of(done), "the byte, as `command` reads it"
    model = shutil.copytree(model_dir, odd(b"m\xff"))
    assert "m\ufffd: expected a name in UTF-8, found other bytes" in error_of(command("recommend", model, "--user", 1))


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "MODEL", "LONG"),
        ("prepare", "LONG", "--out", "p"),
        ("prepare", "RATINGS", "--out", "LONG"),
        ("prepare", "RATINGS", "--items", "LONG", "--out", "p"),
        ("prepare", "RATINGS", "--config", "LONG", "--out", "p"),
        ("train", "LONG", "--out", "m"),
        ("train", "RATINGS", "--out", "LONG"),
        ("predict", "MODEL", "RATINGS", "--out", "LONG"),
        ("predict", "LONG", "RATINGS", "--out", "p.csv"),
        ("recommend", "MODEL", "--ratings", "LONG"),
        ("recommend", "MODEL", "--user", "1", "--out", "LONG"),
        ("recommend", "MODEL", "--all", "--out", "LONG"),
        ("explain", "MODEL", "--user", "1", "--movie", "10", "--plot", "LONG.svg"),
        ("update", "MODEL", "RATINGS", "--out", "LONG"),
        ("forget", "LONG", "--user", "1"),
        ("bench", "LONG", "--models", "mean", "--out", "b"),
        ("bench", "RATINGS", "--models", "mean", "--no-cold", "--out", "LONG"),
        ("export", "--out", "LONG"),
    ],
)
def test_paths_that_are_too_long_are_one_line(
    command: CommandLine, model_dir: Path, tables: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    values = {"MODEL": str(model_dir), "RATINGS": str(tables / "ratings.csv"), "LONG": "x" * 5000}
    done = command(*(values.get(word, word.replace("LONG", "x" * 5000)) for word in words), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr


def test_temporary_files_are_removed(command: CommandLine, tables: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    quick = ["--tune", "none", "--no-ranking", "--max-steps", "3"]
    done = command("train", tables / "ratings.csv", *quick, "--out", tmp_path / "m", temporary=temporary)
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []


def test_ctrl_c_in_a_query_is_an_interrupt(tables: Path, tmp_path: Path) -> None:
    """DuckDB reports Ctrl-C as an error of its own; a query that takes minutes is interrupted for sure."""
    code = """
import sys
from reelgraph.cli import main
from reelgraph.data.prepare import prepare
import duckdb
def query(*_):
    print("started", flush=True)
    pairs = "range(100000000) a, range(100000000) b where a.range % 7 = b.range"
    duckdb.connect().execute(f"select count(*) from {pairs}")
prepare.prepare = query
main(sys.argv[1:])
"""
    words = [sys.executable, "-c", code, "prepare", str(tables / "ratings.csv"), "--out", str(tmp_path / "p")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"

    busy = psutil.Process(process.pid)
    before = busy.cpu_times().user
    until(lambda: busy.cpu_times().user > before + 0.5, "the query does not run")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "reelgraph: interrupted")


def test_without_a_command_there_is_help(command: CommandLine) -> None:
    done = command()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == command("--help").stdout


def test_an_interrupt_while_libraries_are_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = run("--version", env={"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert (done.returncode, done.stderr) == (130, "reelgraph: interrupted\n")
