"""Databases for tests: a file of SQLite, or a new database of a real PostgreSQL server that the tests start."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from tests.support.programs import postgresql_programs

PASSWORD = "open/sesame@%"  # It has to be escaped in a URL, so that a test sees where it is written as it is.
FAST = ("-c", "fsync=off", "-c", "full_page_writes=off")  # The tests end servers of ours, never the machine.


class PostgreSQL:
    """A server of its own, on a socket in a folder of its own, so that no port is taken.

    Args:
        folder: an empty folder; the server runs as its owner, since PostgreSQL refuses to run as root.
        options: more options of the server.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self._number = folder, options, 0
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            owner = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
            entry = pwd.getpwnam(owner)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # its folder is private
        self._run(
            "initdb",
            "-D",
            "data",
            "-U",
            "owner",
            "-A",
            "scram-sha-256",
            "--pwfile=secret",
            "-E",
            "UTF8",
            "--no-locale",
            "-N",
        )
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(postgresql_programs() / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._user)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", *self.options)
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [postgresql_programs() / "postgres", "-D", "data", *settings],
                cwd=self.folder, stdout=log, stderr=log, **self._user,
            )  # fmt: skip
        until = time.monotonic() + 30
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, "PostgreSQL did not answer in 30 s"
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server without waiting for its clients."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def execute(self, statement: str) -> None:
        """Run a statement as the owner of everything."""
        with psycopg.connect(
            host=str(self.folder), user="owner", password=PASSWORD, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def version(self) -> str:
        """Its version, such as "15.13"."""
        said = subprocess.run(
            [postgresql_programs() / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        return said.stdout.split()[2]

    def database(self) -> URL:
        """A new, empty database."""
        self._number += 1
        name = f"test{self._number}"
        self.execute(f"CREATE DATABASE {name}")
        query = {"host": str(self.folder)}
        return URL.create("postgresql+psycopg", "owner", PASSWORD, database=name, query=query)


@contextmanager
def postgresql(*options: str) -> Iterator[PostgreSQL]:
    """A server that runs as long as the block does; its files are removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="reelgraph-postgresql-"))
    try:
        server = PostgreSQL(folder, *options)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
