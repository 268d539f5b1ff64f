"""Findings of the checks, and the versions of libraries that a package requires."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    ok: bool | None  # None for an optional part that is not as needed
    found: str
    remedy: str = ""  # empty if nothing needs fixing


def check_of(name: str, ok: bool, found: str, remedy: str) -> Check:
    """A finding, with the remedy only if something is wrong."""
    return Check(name, ok, found, "" if ok else remedy)


def attempt(name: str, work: Callable[[], str], remedy: str) -> Check:
    """Try something that depends on much of the environment; any exception is the finding."""
    try:
        return Check(name, True, work())
    except Exception as error:
        return Check(name, False, " ".join(f"{type(error).__name__}: {error}".split()), remedy)


def requirements(package: str = "reelgraph", extra: str | None = None) -> dict[str, SpecifierSet]:
    """The version range of each library that an installed package requires, or that one of its extras does."""
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return {}
    needed = [Requirement(line) for line in lines]
    return {
        requirement.name.lower(): requirement.specifier
        for requirement in needed
        if extra is None or (requirement.marker and requirement.marker.evaluate({"extra": extra}))
    }


def library(name: str, allowed: SpecifierSet) -> Check:
    """Whether a library is installed in an allowed version."""
    remedy = f"python -m pip install '{name}{allowed}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, f"not installed, expected {str(allowed) or 'any version'}", remedy)
    ok = allowed.contains(version, prereleases=True)
    return check_of(name, ok, version if ok else f"{version}, expected {allowed}", remedy)


def gigabytes(size: int) -> str:
    """Bytes as text."""
    return f"{size / (1 << 30):.1f} GiB"
