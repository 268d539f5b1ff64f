"""Results that are written whole or not at all: build beside the target, flush to disk, rename."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from reelgraph.errors import OutputError

MANIFEST = "manifest.json"

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
    """Turn what the operating system says about writing `path` into one clear line.

    Raises:
        OutputError: for any `OSError` inside the block, and for what safetensors makes of one.
    """
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
    """Yield a temporary sibling of `path` to write; rename it to `path` if the block ends well, else delete it.

    Raises:
        OutputError: if it cannot be written; `path` then is as it was before.
    """
    with output_errors(path):
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
    """Refuse, before any work is done, an output directory that a run could not write or may not replace.

    Args:
        path: the output directory; it may be missing, empty, or an older result of the same `kind`.
        kind: the `kind` entry that the manifest of such a result carries.
        manifest: the manifest's name.

    Raises:
        OutputError: if something else is there, or if the parent cannot be written.
    """
    with output_errors(path):
        if path.is_dir():
            if any(path.iterdir()) and _kind_of(path / manifest) != kind:
                raise OutputError(
                    f"{path}: expected a new directory or an earlier {kind}, found other files there",
                    "choose another --out or empty it yourself",
                )
        elif path.exists():
            raise OutputError(f"{path}: expected a directory, found a file", "choose another --out")
        for parent in path.parents:
            if parent.exists() and not parent.is_dir():
                raise OutputError(f"{path}: expected {parent} to be a directory, found a file", "choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)).rmdir()


@contextmanager
def new_directory(path: Path, kind: str, manifest: str = MANIFEST) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to fill; put it in the place of `path` if the block ends well.

    The block writes a manifest of that name whose `kind` is `kind`. An older result is replaced only once the new one
    is complete and flushed; on any failure the older one stays and nothing half-written is left.

    Raises:
        OutputError: if it cannot be written or `path` holds something that is not ours.
    """
    check_target(path, kind, manifest)
    with output_errors(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in sorted(temporary.rglob("*")):
                if file.is_file():  # safetensors makes private files; a result is as readable as any other.
                    file.chmod(0o666 & ~_umask())
                _flush(file)
            _flush(temporary)
            _swap(temporary, path)
            _flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
    # The mask can only be read by setting it; mkstemp and mkdtemp make private files, a result should not be.
    mask = os.umask(0)
    os.umask(mask)
    return mask
