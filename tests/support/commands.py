"""The command line, each command in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CommandLine:
    """`reelgraph` as a function of its arguments; the processes are forks of one that has imported the libraries."""

    def __init__(self, folder: Path) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self._busy = threading.Lock()
        self._server: subprocess.Popen[str] | None = None

    def __call__(
        self, *arguments: object, cwd: Path | None = None, temporary: Path | None = None, limit: int | None = None,
        kill: tuple[float, int] | None = None, stdout: Path | None = None, stderr: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command and wait until it ends.

        Args:
            arguments: what follows `reelgraph`.
            cwd: where it runs.
            temporary: its directory for temporary files.
            limit: the largest number of bytes that a file may have.
            kill: seconds after which it gets a signal, and the signal.
            stdout: what its output goes to in place of the result.
            stderr: the same for its messages.
        """
        words = [str(argument) for argument in arguments]
        request = {
            "arguments": words,
            "cwd": str(cwd or Path.cwd()),
            "environment": os.environ | ({} if temporary is None else {"TMPDIR": str(temporary)}),
            "limit": limit,
            "stdout": str(stdout or self._stdout),
            "stderr": str(stderr or self._stderr),
        }
        with self._busy:
            code = self._ask(json.dumps(request), kill)
            texts = [
                "" if elsewhere else path.read_text(encoding="utf-8", errors="replace")
                for path, elsewhere in ((self._stdout, stdout), (self._stderr, stderr))
            ]
        return subprocess.CompletedProcess(["reelgraph", *words], code, *texts)

    def _ask(self, request: str, kill: tuple[float, int] | None) -> int:
        if self._server is None:
            program = [sys.executable, str(Path(__file__).with_name("forkserver.py"))]
            self._server = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{request}\n")
        self._server.stdin.flush()
        child = int(self._server.stdout.readline())
        timer = None if kill is None else threading.Timer(kill[0], os.kill, (child, kill[1]))
        if timer is not None:
            timer.start()
        answer = self._server.stdout.readline()
        if timer is not None:
            timer.cancel()
        assert answer, "the fork server ended"
        return int(answer)

    def close(self) -> None:
        """End the process that the commands are forks of."""
        if self._server is not None:
            self._server.communicate()


@contextmanager
def command_line() -> Iterator[CommandLine]:
    """A command line that can be used while the block runs."""
    with tempfile.TemporaryDirectory(prefix="reelgraph-commands-") as folder:
        command = CommandLine(Path(folder))
        try:
            yield command
        finally:
            command.close()
