"""Tries changes of the code that tests should notice: python benchmarks/mutants.py [--sample 150] [--parts scoring].

Needs `pip install mutmut==3.8.1`. mutmut, as set in pyproject.toml, makes all mutants, and of each package a sample
drawn with a fixed seed is tried. Writes results/mutants.json: counts by package, and the names of the mutants that no
test killed, which `mutmut show NAME` prints.
"""

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from measuring import describe

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = ("metrics", "scoring", "training.leaks", "data.prepare")
KILLED, SURVIVED, NO_TESTS = "killed", "survived", "not executed"
# By exit code of the tests; a mutant that runs out of time is killed.
OUTCOMES: dict[int | None, str] = {None: "not tried", 0: SURVIVED, 5: NO_TESTS, 33: NO_TESTS}
OUTCOMES |= dict.fromkeys((1, 3, 24, -24, 36, 152, 255), KILLED)


def mutmut(*names: str, quiet: bool = False) -> None:
    """Try the mutants of these names; mutmut makes the mutants and runs all tests once before."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    subprocess.run(command, cwd=ROOT, check=False, capture_output=quiet)


def mutants() -> dict[str, int | None]:
    """Exit codes of the tests by mutant; None where it was not tried."""
    found: dict[str, int | None] = {}
    for file in sorted((ROOT / "mutants").rglob("*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def main() -> None:
    """Draw, try, count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=150, help="mutants of each package")
    parser.add_argument("--parts", default=",".join(PARTS))
    given = parser.parse_args()
    mutmut("no mutant has this name", quiet=True)  # It makes them all, and then complains.
    every, drawn = mutants(), {}
    for part in given.parts.split(","):
        names = sorted(name for name in every if name.startswith(f"reelgraph.{part}."))
        drawn[part] = random.Random(0).sample(names, min(given.sample, len(names)))  # noqa: S311
        if not names:
            sys.exit(f"{part}: expected mutants, found none; see mutmut run")
    mutmut(*(name for names in drawn.values() for name in names))
    every, parts, left = mutants(), {}, []
    for part, names in drawn.items():
        outcomes = {name: OUTCOMES.get(every[name], "crashed") for name in names}
        parts[part] = {"mutants": sum(name.startswith(f"reelgraph.{part}.") for name in every), "tried": len(names)}
        parts[part] |= Counter(outcomes.values())
        left += [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome != KILLED]
    command = " ".join(["python benchmarks/mutants.py", *sys.argv[1:]])
    result = describe(command) | {"packages": parts, "left": left}
    (HERE / "results" / "mutants.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(parts, indent=1))


if __name__ == "__main__":
    main()
