"""Atomic writing of files and directories, and temporary directories."""

import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from reelgraph.errors import OutputError

Result = TypeVar("Result")
MANIFEST = "manifest.json"
_OWN = "reelgraph-run-"  # prefix of the directories for temporary files
_MARK = ".reelgraph-"  # in the names of directories for temporary files beside a target
_RANDOM = 8  # length of what `mkdtemp` appends to a prefix
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS
_HERE = -100  # AT_FDCWD of Linux
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}  # a directory with files is there
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_locks: ContextVar[frozenset[tuple[int, int]]] = ContextVar("_locks", default=frozenset())  # directories locked here

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
        real = _follow(path)
        if real.is_dir():
            raise OutputError(f"{path}: expected a file, found a directory", "choose another --out")
        with _workplace(real.parent, _prefix(real)) as work:
            temporary = work / "output"
            temporary.touch()
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _flush(temporary)
            temporary.replace(real)
            _flush(real.parent)


def check_target(path: Path, kind: str, manifest: str = MANIFEST) -> None:
    """Check that an output directory can be written: it is missing, empty, or an earlier result of the same kind.

    Also removes what killed processes left there.
    """
    with output_errors(path):
        recover(path)
        real = _follow(path)
        if not in_utf8(real):
            raise OutputError(f"{path}: expected a name in UTF-8, found other bytes", "choose another --out")
        if real.exists() and not real.is_dir():
            raise OutputError(f"{path}: expected a directory, found a file", "choose another --out")
        if os.path.ismount(real):
            problem = f"{path}: expected a directory that can be replaced, found a mount point"
            raise OutputError(problem, "choose a directory inside it")
        for parent in real.parents:
            if parent.exists() and not parent.is_dir():
                raise OutputError(f"{path}: expected {parent} to be a directory, found a file", "choose another --out")
        real.parent.mkdir(parents=True, exist_ok=True)
        for place in (real, previous_of(path)):
            if read_whole(place, partial(_is_foreign, place, kind, manifest)):
                problem = f"{place}: expected a new directory or an earlier {kind}, found other files there"
                raise OutputError(problem, "choose another --out or empty it yourself")
        with _workplace(real.parent, _prefix(real)):
            pass


@contextmanager
def new_directory(path: Path, kind: str, manifest: str = MANIFEST, *, keep: bool = True) -> Iterator[Path]:
    """Yield a temporary directory to fill; put it at `path` if the block succeeds, else delete it.

    The block writes a manifest with this `kind`. An earlier result is replaced only when the new one is complete and
    flushed, and `path` names the one or the other at every moment; see also `check_target`. `keep` keeps the earlier
    one at `previous_of(path)`.
    """
    check_target(path, kind, manifest)
    with output_errors(path):
        real = _follow(path)
        with _workplace(real.parent, _prefix(real)) as work:
            temporary = work / "output"
            temporary.mkdir()
            yield temporary
            for file in sorted(temporary.rglob("*")):
                if file.is_file():  # safetensors creates private files.
                    file.chmod(0o666 & ~_umask())
                _flush(file)
            _flush(temporary)
            with locked(real):
                _replace(temporary, real, keep)
            _flush(real.parent)


@contextmanager
def locked(
    directory: Path, report: Callable[[str], None] | None = None, *, make: bool = False
) -> Iterator[tuple[int, ...]]:
    """Keep other processes that lock the directory waiting, such as all that are about to replace it.

    Whoever reads a result and replaces it by a changed one holds the lock from reading to writing. Nothing is locked
    where nothing is, nor on a system or file system without such locks.

    Args:
        directory: the directory; when another one has taken its place meanwhile, that one is locked.
        report: called with a line if another process holds the lock.
        make: whether to make the directory if it is missing.

    Yields:
        The handles that hold the lock; a process started with them holds it, too.
    """
    while True:
        if make:
            directory.mkdir(parents=True, exist_ok=True)
        recover(directory)
        if _inode(directory) in _locks.get():
            yield ()
            return
        busy = f"{directory}: another command is writing it; this one waits for its end"
        handle = _lock(directory, partial(report, busy) if report is not None else lambda: None)
        if handle is None:
            yield ()
            return
        inode = _inode(handle)
        if inode is not None and inode == _inode(directory):
            break
        os.close(handle)  # Another directory has taken its place.
    token = _locks.set(_locks.get() | {inode})
    try:
        yield (handle,)
    finally:
        _locks.reset(token)
        os.close(handle)


def previous_of(path: Path) -> Path:
    """Where the directory that `path` replaced last stays until `path` is replaced again."""
    real = _follow(path)
    return real.with_name(f".{real.name}.previous")


def in_utf8(path: Path) -> bool:
    """Whether the libraries that write our directories can name this one."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def learning_of(path: Path) -> Path:
    """Where a service that learns keeps the model that `path` held before, and the outcomes of its rounds."""
    real = _follow(path)
    return real.with_name(f".{real.name}.learning")


def sweep(path: Path) -> None:
    """Remove what killed processes left beside `path`, in `learning_of` it, and of their temporary files."""
    kept, own = learning_of(path), Path(tempfile.gettempdir())
    recover(path)
    for parent, prefix in ((_follow(path).parent, _prefix(_follow(path))), (kept, "."), (own, _OWN)):
        _sweep(parent, prefix)


def recover(path: Path) -> None:
    """Move a directory back that a killed process moved aside to replace it; see `_replace`."""
    with suppress(OSError):
        real = _follow(path)
        if not real.exists():
            _aside(real).rename(real)


def read_whole(path: Path, read: Callable[[], Result]) -> Result:
    """Call `read`, which reads the directory `path`, again for as long as the directory is replaced meanwhile."""
    while True:
        before = _identity(path)
        try:
            result = read()
        except Exception:  # Parts of two directories may fit together in no way.
            if _identity(path) == before:
                raise
        else:
            if _identity(path) == before:
                return result


def remove(directory: Path) -> None:
    """Remove a directory as far as possible, but for files that are being written there."""
    with suppress(OSError):
        for part in directory.iterdir():
            if part.is_dir() and _MARK not in part.name:
                shutil.rmtree(part, ignore_errors=True)
            elif not part.is_dir():
                part.unlink(missing_ok=True)
        directory.rmdir()


@contextmanager
def temporary_directory() -> Iterator[None]:
    """Keep temporary files in one directory that is removed at the end, as are those of killed processes."""
    with ExitStack() as stack:
        with suppress(OSError):  # Only what needs temporary files should fail.
            own = str(stack.enter_context(_workplace(Path(tempfile.gettempdir()), _OWN)))
            before = tempfile.tempdir, os.environ.get("TMPDIR")
            tempfile.tempdir = os.environ["TMPDIR"] = own
            stack.callback(_set_temporary, *before)
        yield


def _set_temporary(directory: str | None, variable: str | None) -> None:
    tempfile.tempdir = directory
    if variable is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = variable


@contextmanager
def _workplace(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory, removed at the end, as are those of the same prefix whose processes were killed.

    It is locked, which lasts as long as the process, so that others see that it is in use.
    """
    _sweep(parent, prefix)
    while True:
        own = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(own, lambda: None)
        if own.is_dir():
            break
        if lock is not None:  # Another process found it before it was locked, and removed it.
            os.close(lock)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(parent: Path, prefix: str) -> None:
    with suppress(OSError):
        for other in parent.iterdir():
            if other.name.startswith(prefix) and len(other.name) == len(prefix) + _RANDOM and not other.is_symlink():
                lock = _lock(other)
                if lock is not None:
                    shutil.rmtree(other, ignore_errors=True)
                    os.close(lock)


def _prefix(target: Path) -> str:
    """How the directories for temporary files beside a target begin, short enough for any name."""
    return f".{target.name[:50]}{_MARK}"


def _lock(directory: Path, wait: Callable[[], None] | None = None) -> int | None:
    """Lock a directory until the handle is closed or the process ends; None if it is in use or cannot be locked.

    If it is in use, `wait`, if given, is called once, and the lock is waited for.
    """
    try:
        import fcntl  # noqa: PLC0415 (not on Windows)

        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (ImportError, OSError):
        return None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise
            wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _inode(place: Path | int) -> tuple[int, int] | None:
    try:
        facts = os.stat(place)  # noqa: PTH116 (also of handles)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _replace(new: Path, path: Path, keep: bool) -> None:
    """Put a complete directory at `path`, in one step; the directory of `new` is for what is to be removed.

    Where the file system cannot exchange two directories, the earlier one is moved aside first, and `recover` moves it
    back if the process is killed before the second step.
    """
    old = new
    while True:
        try:
            new.rename(path)  # Nothing or an empty directory was there.
            break
        except OSError as error:
            if error.errno not in _TAKEN:
                recover(path)
                raise
        try:
            _exchange(new, path)
            break
        except FileNotFoundError:
            continue  # Another process moved it aside.
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
        old = _aside(path)
        with suppress(FileNotFoundError):
            _retire(old, path, new.parent, keep)  # of a process killed after the second step
        try:
            path.rename(old)
        except OSError as error:
            if error.errno not in {*_TAKEN, errno.ENOENT}:  # Another process was faster.
                raise
    with suppress(OSError):
        _retire(old, path, new.parent, keep)


def _retire(old: Path, path: Path, rest: Path, keep: bool) -> None:
    """Keep a replaced directory as the previous one of `path`, and move the one before that to `rest`."""
    previous = previous_of(path)
    while old.exists():
        with suppress(FileNotFoundError):
            previous.rename(tempfile.mkdtemp(dir=rest))
        try:
            old.rename(previous if keep else tempfile.mkdtemp(dir=rest))
        except OSError as error:
            if error.errno not in _TAKEN:  # Another process was faster.
                raise


def _exchange(one: Path, other: Path) -> None:
    """Exchange two directories in one step; OSError with one of `_NO_EXCHANGE` where that is not possible."""
    library: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _EXCHANGE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _identity(path: Path) -> tuple[int, ...] | None:
    """Differs between a directory, the one that takes its place, and the same one moved back."""
    recover(path)
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_ctime_ns


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
    """The absolute path of the file or directory that `path` names or links to."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _is_foreign(directory: Path, kind: str, manifest: str) -> bool:
    return directory.is_dir() and any(directory.iterdir()) and _kind_of(directory / manifest) != kind


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
