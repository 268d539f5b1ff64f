"""Tries changes of the code that tests should notice: python benchmarks/mutants.py [--sample 150] [--parts scoring].

Needs `pip install mutmut==3.8.1`. mutmut, as set in pyproject.toml, makes all mutants, and of each package a sample
drawn with a fixed seed is tried, without those that only change the case of letters. Writes results/mutants.json:
counts by package, and the changes that no test noticed. Packages that are not named keep their last result.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from measuring import describe
from mutmut.mutation.diff_apply import get_diff_for_mutant

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULT = HERE / "results" / "mutants.json"
PARTS = ("metrics", "scoring", "training.leaks", "data.prepare")
KILLED, SURVIVED, NO_TESTS, LATE = "killed", "survived", "not executed", "out of time"
OUTCOMES: dict[int | None, str] = {  # by exit code of the tests
    None: "not tried", 0: SURVIVED, 1: KILLED, 3: KILLED, 5: NO_TESTS, 33: NO_TESTS,
    24: LATE, -24: LATE, 36: LATE, 152: LATE, 255: LATE,
}  # fmt: skip


def mutmut(*names: str, quiet: bool = False) -> None:
    """Try the mutants of these names; mutmut makes the mutants and runs all tests once before."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    subprocess.run(command, check=False, capture_output=quiet)


def mutants() -> dict[str, int | None]:
    """Exit codes of the tests by mutant; None where it was not tried."""
    found: dict[str, int | None] = {}
    for file in sorted(Path("mutants").rglob("*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def change(name: str) -> list[str]:
    """The removed and the added lines of a mutant, each with its sign."""
    return [line for line in get_diff_for_mutant(name).splitlines()[2:] if line[:1] in "-+"]


def draw(names: list[str], size: int) -> list[str]:
    """Mutants in random order, without those that only change the case of letters.

    SQL ignores the case of names of columns, and tests compare no whole messages.
    """
    drawn: list[str] = []
    for name in random.Random(0).sample(names, len(names)):  # noqa: S311
        removed, added = ("".join(line[1:] for line in change(name) if line[0] == sign).lower() for sign in "-+")
        if removed != added:
            drawn.append(name)
        if len(drawn) == size:
            break
    return drawn


def main() -> None:
    """Draw, try, count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=150, help="mutants of each package")
    parser.add_argument("--parts", default=",".join(PARTS))
    given = parser.parse_args()
    os.chdir(ROOT)
    mutmut("no mutant has this name", quiet=True)  # It makes them all, and then complains.
    every, drawn = sorted(mutants()), {}
    for part in given.parts.split(","):
        names = [name for name in every if name.startswith(f"reelgraph.{part}.")]
        if not names:
            sys.exit(f"{part}: expected mutants, found none; see mutmut run")
        drawn[part] = draw(names, given.sample)
    mutmut(*(name for names in drawn.values() for name in names))
    codes, run = mutants(), describe(" ".join(["python benchmarks/mutants.py", *sys.argv[1:]]))
    packages: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))["packages"] if RESULT.exists() else {}
    for part, names in drawn.items():
        outcomes = {name: OUTCOMES.get(codes[name], "crashed") for name in names}
        packages[part] = {
            **{name: run[name] for name in ("date", "command")},
            "mutants": sum(name.startswith(f"reelgraph.{part}.") for name in every),
            "tried": len(names),
            **Counter(outcomes.values()),
            "left": {f"{name}: {outcome}": change(name) for name, outcome in outcomes.items() if outcome != KILLED},
        }
    RESULT.write_text(json.dumps(run | {"packages": packages}, indent=1) + "\n", encoding="utf-8")
    for part in drawn:
        print(part, {name: value for name, value in packages[part].items() if name != "left"})


if __name__ == "__main__":
    main()
