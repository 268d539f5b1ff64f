"""A model's files, held open: they can be read again after another model has taken their place on disk."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelgraph.atomic import MANIFEST
from reelgraph.errors import ArtifactError, SetupError

_REMEDY = "put a whole model there, under another name first and then renamed"


class HeldFiles:
    """The files of a model's directory as they are now.

    Training replaces a directory by renaming a new one into its place. What is open stays readable all the same, takes
    no memory, and is gone with the process, whatever ends it.

    Args:
        path: the directory.

    Raises:
        ArtifactError: if it cannot be read, or its files are not those that its manifest tells of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, int] = {}
        try:
            # Through the directory itself: another one of the same name may come meanwhile.
            folder = os.open(path, os.O_RDONLY)
            try:
                for entry in os.scandir(folder):
                    self._hold(entry.name, folder)
            finally:
                os.close(folder)
            self.checksum = self._checked()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.close()
            raise ArtifactError(f"{path}: expected a whole model, found none ({error})", _REMEDY) from None
        except ArtifactError:
            self.close()
            raise

    def _hold(self, name: str, folder: int) -> None:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            self._open[name] = handle
        else:
            os.close(handle)

    def _checked(self) -> str:
        """The manifest's SHA-256, after those of the files that it names were found right."""
        if MANIFEST not in self._open:
            raise ArtifactError(f"{self.path}: expected a model directory with {MANIFEST}, found none", _REMEDY)
        with open(self._open[MANIFEST], "rb", closefd=False) as file:
            text = file.read()
        for name, facts in json.loads(text)["files"].items():
            found = self._digest(name) if name in self._open else "no file"
            if found != facts["sha256"]:
                wanted = f"{name} of SHA-256 {facts['sha256'][:12]}"
                raise ArtifactError(f"{self.path}: expected {wanted}, found {found[:12]}", _REMEDY)
        return hashlib.sha256(text).hexdigest()

    def _digest(self, name: str) -> str:
        os.lseek(self._open[name], 0, os.SEEK_SET)
        with open(self._open[name], "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A temporary directory with the files in it, as links to what is held open.

        Raises:
            SetupError: if there is no place for one.
        """
        try:
            place = tempfile.TemporaryDirectory(prefix="reelgraph-")
        except OSError as error:
            problem = f"expected a place for temporary files, found {error}"
            raise SetupError(problem, "name a directory that can be written in TMPDIR") from None
        with place as temporary:
            for name, handle in self._open.items():
                os.lseek(handle, 0, os.SEEK_SET)
                (Path(temporary) / name).symlink_to(f"/dev/fd/{handle}")
            yield Path(temporary)

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            os.close(self._open.popitem()[1])
