"""Bad files, command lines, requests and models, and what becomes of each: python benchmarks/corpus.py.

Every one must end in a line that says what is wrong, or in a right result: no traceback, no internal error, no number
that is not finite, nothing left behind. All are made from a seed. Writes results/corpus.json; exits with 1 on a fault.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import describe

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reelgraph.recommend.recommender import open_model  # noqa: E402
from reelgraph.service.app import create_app  # noqa: E402
from reelgraph.service.settings import Settings  # noqa: E402
from tests.support.commands import CommandLine, command_line  # noqa: E402
from tests.support.corpus import bad_commands, bad_files, bad_requests, run_command, run_file, run_request  # noqa: E402
from tests.support.mutations import answers, mutations, try_change  # noqa: E402
from tests.support.serving import serving  # noqa: E402
from tests.support.worlds import write_files  # noqa: E402

Outcome = tuple[str, str, str]  # kind, what was tried, what is wrong with the end


def trained(command: CommandLine, folder: Path) -> tuple[Path, Path]:
    """A small model of made-up ratings, and the ratings."""
    write_files(folder)
    ratings, model = folder / "ratings.csv", folder / "model"
    done = command("train", ratings, "--items", folder / "movies.csv", "--max-steps", 20, "--rank-max-steps", 20,
                   "--tune", "none", "--out", model)  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return model, ratings


def try_commands(command: CommandLine, model: Path, ratings: Path, folder: Path, number: int) -> Iterator[Outcome]:
    """Bad files and command lines, `number` of each."""
    for file in bad_files(number):
        yield "files", f"{file.name}: {' '.join(file.words)}", run_file(command, file, model, ratings, folder)
    for words in bad_commands(number):
        yield "commands", repr(words), run_command(command, words, model, ratings, folder)


def try_requests(model: Path, number: int) -> Iterator[Outcome]:
    """Bad requests to a service that may write."""
    settings = Settings(database=str(model.parent / "ratings.sqlite"), watch=0, rate=0, open=True)
    with serving(create_app(model, settings), settings) as client:
        for request in bad_requests(number):
            yield "requests", f"{request.method} {request.target}", run_request(client, request)


def try_models(model: Path, folder: Path, number: int) -> Iterator[Outcome]:
    """Changed models; a changed manifest has its own checksum renewed, or not, by a throw of a coin."""
    rng, expected, place = random.Random(0), answers(open_model(model)), folder / "changed"  # noqa: S311
    every = mutations(model)
    for name, change in rng.sample(every, min(number, len(every))):
        shutil.copytree(model, place)
        whole = not name.startswith("manifest") or rng.random() < 0.5
        end = try_change(place, change, expected, whole=whole)
        fine = end.startswith(("refused", "right")) or (
            end == "another model" and name.startswith("manifest") and whole
        )
        yield "models", name, "" if fine else end
        shutil.rmtree(place)


def main() -> None:
    """Try everything, show the faults, and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=150, help="files, command lines, and twice as many requests")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "corpus.json")
    given = parser.parse_args()
    np.seterr(all="ignore")
    tried, faults = Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="reelgraph-corpus-") as name, command_line() as command:
        folder = Path(name) / "work"
        folder.mkdir()
        model, ratings = trained(command, Path(name))
        for kind, what, fault in (
            *try_commands(command, model, ratings, folder, given.number),
            *try_requests(model, 2 * given.number),
            *try_models(model, folder, given.models),
        ):
            tried[kind] += 1
            if fault:
                faults.append({"kind": kind, "what": what, "fault": fault})
                print(kind, what, fault, sep=": ", flush=True)
    result = describe(" ".join(["python benchmarks/corpus.py", *sys.argv[1:]])) | {"tried": tried, "faults": faults}
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(tried))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
