"""Runs `python -m reelgraph` in forks of one process that has imported the libraries; started by `commands`.

It reads one JSON object a line from stdin, runs the command it describes, and writes its process id and then its exit
code as lines to stdout.
"""

import atexit
import importlib
import json
import os
import resource
import runpy
import sys
import traceback
from typing import Any

# Imports take most of a short command's time: everything that commands import when they need it.
MODULES = (
    "duckdb.experimental.spark.sql", "numpy", "pandas", "pyarrow.parquet", "rich.progress", "torch",
    "reelgraph.cli.main", "reelgraph.data.load", "reelgraph.recommend.recommender", "reelgraph.training.fit",
    "reelgraph.training.update",
)  # fmt: skip


def become(request: dict[str, Any]) -> None:
    """Turn this process into the one that the request asks for: its environment, directory, arguments and streams."""
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.path[0] = os.getcwd()  # noqa: PTH109 (what `python -m` puts there)
    sys.argv = ["reelgraph", *request["arguments"]]
    if request["limit"] is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], hard))
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for stream, (path, flags) in enumerate(
        ((os.devnull, os.O_RDONLY), (request["stdout"], writing), (request["stderr"], writing))
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, stream)
        os.close(opened)


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def serve() -> dict[str, Any] | None:
    """Answer requests until stdin ends; returns a request in the fork that has to run it, and None at the end."""
    for line in iter(sys.stdin.readline, ""):
        request: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return request
        answer(child)
        answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return None


def run() -> None:
    """Run the command and end: at once, since libraries wait at exit for their threads, which a fork does not have."""
    try:
        runpy.run_module("reelgraph", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except BaseException:  # As the interpreter treats what nobody catches.
        traceback.print_exc()
        code = 1
    # The command has ended: what coverage saves now may be larger than the files that the request allows.
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    os.fsync = lambda fd: None  # as in tests/conftest.py
    request = serve()
    if request is not None:
        become(request)
        run()
