"""SECURITY.md names tests that exist, and the lock of the service image is complete."""

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "docs" / "deploy"
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| .+? \| (`tests/.+`) \|$", SECURITY.partition("## Promises")[2], re.MULTILINE)
KEEPERS = re.findall(r"`(tests/\S+?)::(test_\w+)`", " ".join(PROMISES))


def test_every_promise_has_a_keeper() -> None:
    rows = [line for line in SECURITY.partition("## Promises")[2].splitlines() if line.startswith("| ")]
    assert len(rows) - 1 == len(PROMISES) >= 25  # the first is the heading
    assert all(word in SECURITY for word in ("**Atomic:**", "**Durable:**", "**Bounded:**"))


@pytest.mark.parametrize(("file", "name"), KEEPERS)
def test_the_keeper_of_a_promise_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(found) == 1, f"SECURITY.md names {file}::{name}, which does not exist"
    checks = [node for node in ast.walk(found[0]) if isinstance(node, ast.Assert | ast.With | ast.Call)]
    assert checks, f"{file}::{name} checks nothing"


def locked(file: Path) -> dict[str, str]:
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    assert "://" not in text
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = {}
    for line in lines:
        pin, *rest = line.split()
        name, version = pin.split("==")
        assert any(word.startswith("--hash=sha256:") for word in rest), f"{name} has no hash"
        pins[name] = version
    return pins


def test_the_locks_hold_the_versions_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constraints = dict(line.split("==") for line in lines if not line.startswith("#"))
    image, tests = locked(DEPLOY / "requirements.lock"), locked(ROOT / "constraints.lock")
    only_windows = {"colorama", "pywin32-ctypes", "tzdata"}
    assert {name: pin for name, pin in image.items() if name not in only_windows}.items() <= constraints.items()
    shared = constraints.keys() & tests.keys()
    assert {name: constraints[name] for name in shared} == {name: tests[name] for name in shared}
    assert constraints.keys() - shared == {"torch"}, "run script/supply"
    assert tests.keys() - shared <= only_windows


def test_the_lock_of_the_image_holds_all_that_serving_needs() -> None:
    pins = locked(DEPLOY / "requirements.lock")
    assert not {"torch", "torch-geometric", "pyspark"} & pins.keys()
    needed = (DEPLOY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    waiting = [Requirement(line) for line in needed if line and not line.startswith("#")]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        assert name in pins, f"{requirement} is not in requirements.lock: run script/supply"
        for line in metadata.requires(name) or []:
            inner = Requirement(line)
            if any(
                inner.marker is None or inner.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                waiting.append(inner)


def test_the_image_installs_files_with_these_hashes_only() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes --requirement /tmp/requirements.lock" in dockerfile
