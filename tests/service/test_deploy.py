"""The manual is complete, and the container and the systemd unit match the command line."""

import itertools
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest

from reelgraph.cli.serve import serve
from reelgraph.service.errors import STATUS
from reelgraph.service.settings import Settings
from tests.test_architecture import SOURCE, Tree

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def parsed(arguments: list[str]) -> dict[str, object]:
    """The options that `reelgraph serve` parses."""
    return serve.make_context("serve", arguments).params


def names(text: str) -> set[str]:
    """Package names from lines such as "psycopg[binary]>=3.2"."""
    lines = (line.strip().strip('",') for line in text.splitlines())
    return {re.split(r"[\[<>=;~ ]", line)[0] for line in lines if line and not line.startswith("#")}


def test_the_manual_covers_all_options_errors_metrics_and_routes(client: httpx.Client) -> None:
    manual = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    ticked = set(re.findall(r"`([^`\s]+)`", manual))
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in ticked
    codes: dict[str, int] = {}
    for named, statuses_text in re.findall(r"^\| (`[a-z_`, ]+`) \| ([0-9, ]+) \|", manual, re.MULTILINE):
        statuses = itertools.cycle(map(int, statuses_text.split(", ")))
        codes |= dict(zip(re.findall(r"[a-z_]+", named), statuses, strict=False))
    assert codes == STATUS
    types = re.findall(r"^# TYPE (reelgraph\S+)", client.get("/metrics").text, re.MULTILINE)
    told = {name for name in ticked if name.startswith("reelgraph_")}
    assert told == {name for name in types if not name.endswith("_created")}
    for path in client.get("/api/openapi.json").json()["paths"]:
        first = re.sub(r"\{.*", "ID", path).removesuffix("/batch").removesuffix("/rollback")
        assert first in manual, path


def test_the_dockerfile_passes_the_linter() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_finds_faults(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN pip install reelgraph\n")
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", tmp_path / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_files_copied_by_the_dockerfile_exist_and_are_not_ignored() -> None:
    ignored, *kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert ignored == "*"
    sources = [word for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    assert {"src", "docs/deploy/requirements.lock"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in kept


def test_the_container_serves_all_addresses_and_waits_for_models() -> None:
    entrypoint = re.search(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert entrypoint
    words = re.findall(r'"([^"]*)"', entrypoint[1])
    assert words[:2] == ["reelgraph", "serve"]
    options = parsed(words[2:])
    assert (options["model"], options["wait"], options["host"]) == (Path("/models"), True, "0.0.0.0")
    assert options["database"] == "/ratings/ratings.sqlite"
    assert re.search(r"^USER \d+$", DOCKERFILE, re.MULTILINE)


def test_the_container_installs_all_imports_of_serving_and_no_torch() -> None:
    tree = Tree(SOURCE)
    reached = tree.reach("service.server", lazy=True) | tree.reach("cli", lazy=False)
    outside = {name for name in reached if name.partition(".")[0] not in {*tree.files, *sys.stdlib_module_names}}
    homes = packages_distributions()
    needed = {homes[name][0].lower().replace("_", "-") for name in outside if name != "reelgraph"}
    needed.discard("pydantic-core")  # a part of pydantic
    installed = names((DEPLOY / "requirements.txt").read_text(encoding="utf-8"))
    assert needed <= installed
    # Not imported by name: what uvicorn and SQLAlchemy look for, and what `docs` reads files of.
    assert installed - needed == {"uvloop", "httptools", "psycopg", "fastapi-swagger"}
    assert not {"torch", "pandas", "duckdb", "matplotlib"} & installed
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert installed <= names(declared.replace('postgresql = ["', '"'))


def test_the_unit_starts_a_service() -> None:
    unit = ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "reelgraph.service", encoding="utf-8")
    service = unit["Service"]
    program, command, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/reelgraph")
    assert command == "serve"
    options = parsed(words)
    assert options["wait"] is True
    grace = options["grace"]
    assert isinstance(grace, float)
    assert grace < float(service["TimeoutStopSec"]), "requests get their time before the process is killed"
    assert "KEY=" not in service["Environment"]
    assert {"REELGRAPH_WRITE_KEY_FILE", "REELGRAPH_ADMIN_KEY_FILE"} == {
        setting.partition("=")[0] for setting in service["Environment"].split()
    }
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"


@pytest.mark.parametrize("words", [["m", "--prot", "1"], ["m", "--write-key", "x"], []])
def test_unknown_options_are_refused(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such option|Missing parameter"):
        parsed(words)
