"""Opens files on disk and in zip archives, compressed or not; a path may lead into an archive."""

import bz2
import gzip
import hashlib
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from reelgraph.errors import DataError

_MAGIC = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_ZSTD = b"\x28\xb5\x2f\xfd"
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)


def archive_of(path: Path) -> tuple[Path, str] | None:
    """The zip archive and the member that a path such as ml-1m.zip/ml-1m/ratings.dat names, or None."""
    existing = next((parent for parent in path.parents if parent.exists()), None)
    if path.exists() or existing is None or not is_archive(existing):
        return None
    return existing, path.relative_to(existing).as_posix()


@contextmanager
def _open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, of a new kind, encrypted
        raise DataError(f"{path}: expected a zip archive that can be read, found {error}", "pack it again") from None


def exists(path: Path) -> bool:
    """Whether a path is there, on disk or in an archive."""
    member = archive_of(path)
    if member is None:
        return path.exists()
    with _open_archive(member[0]) as archive:
        return member[1] in archive.namelist()


def is_archive(path: Path) -> bool:
    """Whether a path is a zip archive."""
    return path.is_file() and zipfile.is_zipfile(path)


def list_files(folder: Path) -> list[Path]:
    """The visible files of a directory, or of a zip archive at any depth, in order of their names."""
    if is_archive(folder):
        with _open_archive(folder) as archive:
            files = [folder / name for name in archive.namelist() if not name.endswith("/")]
        files = [file for file in files if "__MACOSX" not in file.parts]
    else:
        files = [file for file in folder.iterdir() if file.is_file()]
    return sorted(file for file in files if file.name[0] not in "._")


def check_file(path: Path) -> None:
    """Refuse a path that is not a readable file with some content."""
    if not exists(path):
        raise DataError(f"{path}: expected a file, found none", "check the path")
    if path.is_dir():
        raise DataError(f"{path}: expected a file, found a directory", "name a file in it")
    if path.exists() and not os.access(path, os.R_OK):
        raise DataError(f"{path}: expected a file that you may read, found no permission", "change its permissions")
    if size_of(path) == 0:
        raise DataError(f"{path}: expected rows, found an empty file", "check how it was written")


def size_of(path: Path) -> int:
    """Bytes of a file; of a member of an archive after decompression."""
    member = archive_of(path)
    if member is None:
        return path.stat().st_size
    with _open_archive(member[0]) as archive:
        return archive.getinfo(member[1]).file_size


@contextmanager
def open_stored(path: Path) -> Iterator[Any]:
    """Open the bytes of a file as they are stored."""
    member = archive_of(path)
    if member is None:
        with path.open("rb") as stream:
            yield stream
        return
    with _open_archive(member[0]) as archive, archive.open(member[1]) as stream:
        yield stream


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Open the bytes of a file, decompressed if it is gzip, bzip2, xz or Zstandard, whatever its name."""
    try:
        with open_stored(path) as stored:
            head = stored.read(6)
            stored.seek(0)
            if head.startswith(_ZSTD):
                with pa.input_stream(stored, compression="zstd") as stream:
                    yield stream
                return
            opener: Any = next((opener for magic, opener in _MAGIC.items() if head.startswith(magic)), None)
            yield opener(stored) if opener else stored
    except DAMAGE as error:
        raise DataError(f"{path}: expected a file that can be read, found {error}", "get or write it again") from None


def sha256_of(files: Sequence[Path]) -> str:
    """The checksum of files, one after the other, as they are stored."""
    digest = hashlib.sha256()
    for file in files:
        with open_stored(file) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
