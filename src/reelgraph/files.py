"""Atomic writing of files and directories, and temporary directories."""

import errno
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from reelgraph.errors import OutputError

MANIFEST = "manifest.json"
_OWN = "reelgraph-run-"  # prefix of the directories for temporary files
_JUST_MADE = 60.0  # seconds in which such a directory may not be locked yet

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another --out",
    errno.EDQUOT: "free some space or choose another --out",
    errno.EFBIG: "raise the file size limit or choose another --out",
    errno.EACCES: "choose an --out that you may write to",
    errno.EPERM: "choose an --out that you may write to",
    errno.EROFS: "choose an --out on a writable file system",
}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn operating system errors while writing `path` into an `OutputError`."""
    try:
        yield
    except SafetensorError as error:
        raise OutputError(f"{path}: cannot be written ({error})", "free some space or choose another --out") from error
    except OSError as error:
        what = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "check the path and choose another --out")
        raise OutputError(f"{path}: cannot be written ({what}), nothing was left behind", remedy) from error


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write; rename it to `path` if the block succeeds, else delete it.

    A link stays a link, and its target is replaced. What is written to a device or pipe is passed through to it.
    """
    with output_errors(path):
        if _is_stream(path):
            with tempfile.TemporaryDirectory(prefix="reelgraph-") as directory:
                temporary = Path(directory) / "output"
                yield temporary
                with temporary.open("rb") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
            return
        path = _follow(path)
        if path.is_dir():
            raise OutputError(f"{path}: expected a file, found a directory", "choose another --out")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _flush(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_target(path: Path, kind: str, manifest: str = MANIFEST) -> None:
    """Check that an output directory can be written: it is missing, empty, or an earlier result of the same kind."""
    with output_errors(path):
        path = _follow(path)
        if path.is_dir():
            if any(path.iterdir()) and _kind_of(path / manifest) != kind:
                problem = f"{path}: expected a new directory or an earlier {kind}, found other files there"
                raise OutputError(problem, "choose another --out or empty it yourself")
        elif path.exists():
            raise OutputError(f"{path}: expected a directory, found a file", "choose another --out")
        for parent in path.parents:
            if parent.exists() and not parent.is_dir():
                raise OutputError(f"{path}: expected {parent} to be a directory, found a file", "choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)).rmdir()


@contextmanager
def new_directory(path: Path, kind: str, manifest: str = MANIFEST) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to fill; rename it to `path` if the block succeeds, else delete it.

    The block writes a manifest with this `kind`. An earlier result is replaced only when the new one is complete and
    flushed; see also `check_target`.
    """
    check_target(path, kind, manifest)
    with output_errors(path):
        path = _follow(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in sorted(temporary.rglob("*")):
                if file.is_file():  # safetensors creates private files.
                    file.chmod(0o666 & ~_umask())
                _flush(file)
            _flush(temporary)
            _swap(temporary, path)
            _flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def temporary_directory() -> Iterator[None]:
    """Keep temporary files in one directory that is removed at the end, as are those of killed processes."""
    try:
        own = Path(tempfile.mkdtemp(prefix=_OWN))
    except OSError:  # Only what needs temporary files should fail.
        yield
        return
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    lock = _lock(own)
    for other in own.parent.glob(f"{_OWN}*"):
        with suppress(OSError):
            if other.is_dir() and time.time() - other.stat().st_mtime > _JUST_MADE:
                handle = _lock(other)
                if handle is not None:
                    shutil.rmtree(other, ignore_errors=True)
                    os.close(handle)
    tempfile.tempdir = os.environ["TMPDIR"] = str(own)
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
        shutil.rmtree(own, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(directory: Path) -> int | None:
    """Lock a directory until the handle is closed or the process ends; None if it is in use."""
    try:
        import fcntl  # noqa: PLC0415 (not on Windows)

        handle = os.open(directory, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _is_stream(path: Path) -> bool:
    """Whether `path` is a device, pipe or socket, or an open file of a process such as /dev/stdout."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        return False
    return not stat.S_ISREG(mode) or str(path.absolute()).startswith(("/dev/fd/", "/dev/std", "/proc/"))


def _follow(path: Path) -> Path:
    """The file or directory that `path` links to, else `path` itself."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _swap(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    older = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    path.replace(older)
    try:
        temporary.rename(path)
    except OSError:
        older.rename(path)
        raise
    shutil.rmtree(older, ignore_errors=True)


def _kind_of(file: Path) -> str | None:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    return kind if isinstance(kind, str) else None


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # The mask can only be read by setting it. Needed because mkstemp and mkdtemp create private files.
    mask = os.umask(0)
    os.umask(mask)
    return mask
