"""Runs the code blocks of a Markdown page as a reader would, from top to bottom in a folder of its own.

`sh` and `python` blocks run, `http` requests are sent, settings and data are parsed (test_proxies.py runs those of
proxies), and a `text` block right after one that ran is its output. Comments before a block say why it does not run,
`<!-- not run: needs Docker -->`, or into which file it goes, `<!-- write: settings.toml -->`. Another one names files
that the page expects its reader to have: `<!-- files: ratings.csv -->`.

Some things differ from a reader's machine. Trainings and benchmarks are cut short, and `reelgraph train` on the bundled
sample takes a model that was trained once for all pages, in full. `pip install` installs nothing: it checks that what
it names is installed here, in a version that it would take. Clusters, databases and
shared folders are those of the tests.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import httpx
import pytest
from markdown_it import MarkdownIt
from packaging.requirements import Requirement

from reelgraph._version import __version__
from reelgraph.config import DataConfig, TrainConfig
from tests.support.clusters import HOST, Program, environment_of_programs, spark_home
from tests.support.commands import CommandLine

ROOT = Path(__file__).resolve().parents[2]
RUN, PARSED = {"sh", "python", "http", "cron"}, {"toml", "json", "nginx", "caddy"}
WRITE = re.compile(r"<!-- write: (.+?) -->")
REASON = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)
FILES = re.compile(r"<!-- files: (.+?) -->", re.DOTALL)
SHORT: dict[str, Any] = {"tune": "none", "max_steps": 20, "rank_max_steps": 20}
SHELL = re.compile(r"[|<>$`;&*#]")  # beyond plain words
ADDRESS = "http://127.0.0.1:8000"
MASTER, CONNECT, SHARED, FILMS = "spark://host:7077", "sc://host:15002", "/shared", "/srv/films"
DATABASE = re.compile(r"postgresql\+psycopg://reelgraph(:secret)?@db\.example/ratings(\?sslmode=verify-full)?")
SMALLER = {
    "--processes 4": "--processes 2", "--nproc-per-node 4": "--nproc-per-node 2",
    "--host host --port 7077": f"--host {HOST} --port 0 --webui-port 0",
    "-c 8 -m 32g": f"-h {HOST} -c 2 -m 2g --webui-port 0 -d work",
    "-m reelgraph train": "-m reelgraph train --tune none --max-steps 20 --rank-max-steps 20",
    " spark-internal": "".join(
        f" --conf spark.{name}"
        for name in ("master=local[2]", "ui.enabled=false", f"connect.grpc.binding.address={HOST}",
                     "connect.grpc.binding.port=0")
    ) + " spark-internal",
}  # fmt: skip
READY = {  # what a program of Spark prints when it is, and the address of the pages that it has
    "Master": (r"Starting Spark master at (spark://\S+)", MASTER, "{}"),
    "Worker": (r"Successfully registered with master (\S+)", None, ""),
    "SparkConnectServer": (r"Connect server started at: (\S+:\d+)", CONNECT, "sc://{}"),
}
ALIKE = 0.75  # share of an output that must be as printed: predictions differ a little between processors


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    language: str
    code: str
    line: int  # of its opening, from 1
    lines: tuple[int, int]  # of its content, from 0
    reason: str | None = None  # why it is not run
    file: str | None = None  # where it is written


def blocks(text: str) -> list[Block]:
    """The code blocks of a page in order; one that is indented has the language ""."""
    found, reason, file = [], None, None
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "html_block":
            match, written = REASON.search(token.content), WRITE.search(token.content)
            reason = " ".join(match[1].split()) if match else None
            file = written[1] if written else None
        elif token.type in {"fence", "code_block"}:
            assert token.map is not None
            start, end = token.map
            inside = (start + 1, end - 1) if token.type == "fence" else (start, end)
            found.append(Block(token.info.strip(), token.content, start + 1, inside, reason, file))
            reason = file = None
        elif token.nesting >= 0 and token.type != "inline":
            reason = file = None
    return found


def files_of(text: str) -> list[str]:
    """Names of the files that a page expects its reader to have."""
    match = FILES.search(text)
    return match[1].split() if match else []


def alike(documented: str, printed: str) -> float:
    """How much of a documented output was printed, from 0 to 1, whatever its figures and blanks."""
    shown, found = (re.sub(r"\d", "0", text).split() for text in (documented, printed))
    same = sum(match.size for match in SequenceMatcher(a=shown, b=found, autojunk=False).get_matching_blocks())
    return float(same) / max(len(shown), 1)


@contextlib.contextmanager
def short_trainings() -> Iterator[None]:
    """Trainings from Python take few steps while the block runs."""
    before = {name: TrainConfig.model_fields[name].default for name in SHORT}
    try:
        _set_defaults(SHORT)
        yield
    finally:
        _set_defaults(before)


def _set_defaults(values: dict[str, Any]) -> None:
    for name, value in values.items():
        TrainConfig.model_fields[name].default = value
    TrainConfig.model_rebuild(force=True)


@dataclass
class Reader:
    """Runs blocks one after another."""

    folder: Path
    command: CommandLine
    sample_model: Callable[[], Path]
    trained: Path  # a folder of models by what they were trained on, for all pages
    patch: pytest.MonkeyPatch
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    services: list[subprocess.Popen[str]] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=SMALLER.copy)  # what the pages name, and what stands for it here
    address: str = ADDRESS

    def read(self, page: Path) -> list[tuple[Block, str]]:
        """Run a page; gives its output blocks, each with what was printed."""
        self.patch.chdir(self.folder)
        outputs, printed, closed = [], "", True
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "text" and not closed:
                outputs.append((block, printed))
                closed = True
            elif block.language in RUN and block.reason is None:
                try:
                    printed = self.run(block).replace(self.address, ADDRESS)
                except BaseException as error:
                    error.add_note(f"in the block at {page.relative_to(ROOT)}:{block.line}")
                    raise
                closed = False
            elif block.language in PARSED:
                parse(block)
                if block.file:
                    (self.folder / block.file).write_text(block.code, encoding="utf-8")
        return outputs

    def run(self, block: Block) -> str:
        """Run a block; gives what it printed."""
        kinds = {"python": self._python, "http": self._http, "cron": self._cron}
        return kinds.get(block.language, self._shell)(block.code)

    def here(self, text: str) -> str:
        """A text of a page with what stands here for the machines, folders and sizes that it names."""
        for theirs, ours in self.places.items():
            text = text.replace(theirs, ours)
        return text.replace(ADDRESS, self.address)

    def close(self) -> None:
        for service in self.services:
            service.terminate()
            assert service.wait(30) == 0
        for program in self.programs:
            program.kill()
        if "spark" in self.names:
            self.names["spark"].stop()

    def _http(self, code: str) -> str:
        """Send a request to the service; a share token in it is one of a new visitor."""
        line, _, body = code.partition("\n")
        method, path = line.split()
        with httpx.Client(base_url=self.address, timeout=30) as client:
            if "share.visitor-..." in body:
                client.post("/api/visitors", json={}).raise_for_status()
                client.post("/api/ratings/batch", json={"ratings": {"260": 5.0}}).raise_for_status()
                body = body.replace("share.visitor-...", client.post("/api/shares", json={}).json()["share"])
                client.cookies.clear()
            return client.request(method, path, json=json.loads(body)).raise_for_status().text

    def _cron(self, code: str) -> str:
        """Run the command of a line for cron, in which a percent sign has a backslash."""
        *times, command = code.split(maxsplit=5)
        assert all(re.fullmatch(r"[\d*/,-]+", time) for time in times), times
        return self._shell(command.replace("\\%", "%").replace(" && ", "\n"))

    def _python(self, code: str) -> str:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), short_trainings():
            exec(compile(self.here(code), "<page>", "exec"), self.names)
        return output.getvalue()

    def _shell(self, code: str) -> str:
        printed = ""
        others: list[str] = []
        for line in map(self.here, code.replace("\\\n", " ").splitlines()):
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                self.patch.setenv(name, self._bash(f"printf %s {value}"))
            elif line.startswith("pip install "):
                installed(shlex.split(line, comments=True)[2:])
            elif line.startswith(("spark-class ", "spark-submit ")):
                self._start(shlex.split(line))
            elif line.startswith("reelgraph ") and not SHELL.search(re.sub(r"'[^']*'|\"[^\"]*\"|\s#.*", "", line)):
                printed += self._bash("\n".join(others))
                others = []
                printed += self._reelgraph(shlex.split(line, comments=True)[1:])
            else:
                others.append(line)
        return printed + self._bash("\n".join(others))

    def _bash(self, script: str) -> str:
        if not script.strip():
            return ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{script}\nexit code {done.returncode}\n{done.stderr}"
        return done.stdout

    def _reelgraph(self, words: list[str]) -> str:
        if words[0] == "demo":
            cache = self.folder / "cache"
            self.patch.setenv("XDG_CACHE_HOME", str(cache))
            self.patch.setenv("BROWSER", "true %s")
            shutil.copytree(self.sample_model(), cache / "reelgraph" / f"demo-{__version__}")
        if words[0] in {"serve", "demo"}:
            return self._serve(words)
        if words[0] == "train":
            return self._train(words)
        if words[0] == "bench":
            words += ["--models", "bias,svd", "--seeds", "1"]  # The last ones count.
        return self._command(words)

    def _start(self, words: list[str]) -> None:
        """Start a program of Spark, which runs until the page is read."""
        role = next(role for role in READY if any(word.endswith(f".{role}") for word in words))
        ready, theirs, ours = READY[role]
        command, log = [str(spark_home() / "bin" / words[0]), *words[1:]], self.folder / f"{role}.log"
        self.programs.append(Program(command, log, environment_of_programs(self.folder)))
        found = self.programs[-1].wait_for(ready)
        if theirs:
            self.places[theirs] = ours.format(found[1])

    def _command(self, words: list[str]) -> str:
        done = self.command(*words, cwd=self.folder)
        assert done.returncode == 0, f"reelgraph {shlex.join(words)}\n{done.stderr}"
        return done.stdout

    def _train(self, words: list[str]) -> str:
        """Train in few steps, or copy what was trained by the same words on the same files before."""
        place = words.index("--out") + 1
        out = self.folder / words[place]
        if words[1] == "--out":
            shutil.copytree(self.sample_model(), out, dirs_exist_ok=True)
            return ""
        named = [self.folder / word for word in words if (self.folder / word).is_file()]
        key = [*words[:place], *words[place + 1 :], *(hashlib.sha256(path.read_bytes()).hexdigest() for path in named)]
        kept = self.trained / hashlib.sha256("\0".join(key).encode()).hexdigest()
        for name, value in SHORT.items():
            option = f"--{name.replace('_', '-')}"
            words = words if option in words else [*words, option, str(value)]
        if named and kept.exists():
            shutil.copytree(kept, out, dirs_exist_ok=True)
            return kept.with_suffix(".txt").read_text(encoding="utf-8")
        printed = self._command(words)
        if named:
            shutil.copytree(out, kept)
            kept.with_suffix(".txt").write_text(printed, encoding="utf-8")
        return printed

    def _serve(self, words: list[str]) -> str:
        log = (self.folder / f"serve-{len(self.services)}.log").open("w")
        command = [sys.executable, "-m", "reelgraph", *words, "--port", "0"]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True)
        self.services.append(process)
        output = process.stdout
        assert output is not None
        while "http" not in (line := output.readline()):
            assert line, Path(log.name).read_text()
        match = re.search(r"http://[\d.:]+", line)
        assert match, line
        self.address = match[0]
        return line


def installed(requirements: list[str]) -> None:
    """Check that libraries are installed, in a version that pip would take, with what their extras need."""
    for text in requirements:
        wanted = Requirement(text)
        assert wanted.specifier.contains(version(wanted.name), prereleases=True), text
        needs = [Requirement(need) for need in requires(wanted.name) or ()]
        extras = {extra for need in needs for extra in re.findall(r"extra == .(\w+)", str(need.marker or ""))}
        assert wanted.extras <= extras, f"{text} has no extra {wanted.extras - extras}"
        for extra in ("", *wanted.extras):
            for need in needs:
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    assert need.specifier.contains(version(need.name), prereleases=True), f"{text} needs {need}"


def parse(block: Block) -> None:
    """Check a block of settings or data without running it."""
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        document = tomllib.loads(block.code)
        DataConfig(**document.pop("data", {}))
        TrainConfig(**document.pop("train", {}))
        assert not document


def with_outputs(text: str, outputs: list[tuple[Block, str]]) -> str:
    """A page with what was printed in its output blocks."""
    lines = text.splitlines()
    for block, printed in reversed(outputs):
        start, end = block.lines
        lines[start:end] = [line.rstrip() for line in printed.rstrip().splitlines()]
    return "\n".join(lines) + "\n"
