"""Lists the refusals, `raise` statements of the package's error classes, that a measured test run did not execute.

script/coverage measures all tests and runs this. After a run of a part, paths restrict it to that part:
python benchmarks/refusals.py src/reelgraph/data
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from coverage import Coverage, CoverageData

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "reelgraph"


def error_classes() -> set[str]:
    """The names of `ReelgraphError`, `ServiceError` and their subclasses, wherever they are defined."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = {"ReelgraphError", "ServiceError"}
    while True:
        more = {node.name for node in classes if {ast.unparse(base) for base in node.bases} & names} - names
        if not more:
            return names
        names |= more


def refusals(file: Path, names: set[str]) -> Iterator[int]:
    """The lines of `raise Name(...)` and `raise function(...)`, whose result is such an error, in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = ast.unparse(node.exc.func).rpartition(".")[2]
            if called in names or called[:1].islower() or called[:1] == "_":
                yield node.lineno


def unexecuted(data: CoverageData, files: list[Path]) -> tuple[list[str], int]:
    """Places of refusals that no test executed, as `file:line`, and the number of all."""
    names, missing, total = error_classes(), [], 0
    measured = {Path(name).resolve(): set(data.lines(name) or ()) for name in data.measured_files()}
    for file in files:
        for line in refusals(file, names):
            total += 1
            if line not in measured.get(file, set()):
                missing.append(f"{file.relative_to(ROOT)}:{line}")
    return missing, total


def main(arguments: list[str]) -> int:
    """Print the places; returns 1 if there are any."""
    places = [Path(name).resolve() for name in arguments] or [SOURCE]
    files = sorted({file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))})
    coverage = Coverage(data_file=str(ROOT / ".coverage"))
    coverage.load()
    missing, total = unexecuted(coverage.get_data(), files)
    for place in missing:
        print(place)
    print(f"{total - len(missing)} of {total} refusals executed")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
