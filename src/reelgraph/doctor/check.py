"""What a check of the environment says, and versions of libraries against those that are allowed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what was looked at.
        ok: whether it will do; None for an optional part that is missing or will not do.
        found: what is there.
        remedy: what mends it, a command where one does; empty if nothing has to be mended.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def requirements(package: str = "reelgraph", extra: str | None = None) -> dict[str, str]:
    """The versions of libraries that a package allows, as it says itself.

    Args:
        package: its name.
        extra: only those of this extra; all of them when not given.

    Returns:
        Name to range, such as "duckdb" to "<2,>=1.1"; empty if the package is not installed.
    """
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return {}
    wanted = (line for line in lines if extra is None or re.search(rf"extra == ['\"]{extra}['\"]", line))
    parts = (re.match(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)", line) for line in wanted)
    return {part[1].lower(): part[2].strip() for part in parts if part}


def within(version: str, allowed: str) -> bool:
    """Whether a version lies in a range.

    Args:
        version: such as "2.13.0+cpu"; only its leading numbers count.
        allowed: conditions with >=, <=, ==, <, > between commas, such as ">=2.4,<3"; an empty one allows everything.
    """
    tests: dict[str, Callable[[int], bool]] = {
        ">=": lambda sign: sign >= 0,
        "<=": lambda sign: sign <= 0,
        "==": lambda sign: sign == 0,
        "<": lambda sign: sign < 0,
        ">": lambda sign: sign > 0,
    }
    conditions = re.findall(r"(>=|<=|==|<|>)\s*([\w.]+)", allowed)
    return all(tests[operator](_compare(version, bound)) for operator, bound in conditions)


def _compare(left: str, right: str) -> int:
    """-1, 0 or 1; "2" and "2.0.0" are the same version."""
    for one, other in zip_longest(_numbers(left), _numbers(right), fillvalue=0):
        if one != other:
            return 1 if one > other else -1
    return 0


def _numbers(version: str) -> list[int]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return [int(number) for number in leading[0].split(".")] if leading else []


def judge(name: str, ok: bool, found: str, remedy: str) -> Check:
    """A check with its remedy, if one is needed."""
    return Check(name, ok, found, "" if ok else remedy)


def attempt(name: str, work: Callable[[], str], remedy: str) -> Check:
    """Do something that needs a whole part of the environment; any exception whatever is the finding."""
    try:
        return Check(name, True, work())
    except Exception as error:
        return Check(name, False, " ".join(f"{type(error).__name__}: {error}".split()), remedy)


def library(name: str, allowed: str) -> Check:
    """Whether a library is installed in a version that is allowed."""
    remedy = f"python -m pip install '{name}{allowed}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, False, f"not installed, expected {allowed or 'any version'}", remedy)
    if not within(version, allowed):
        return Check(name, False, f"{version}, expected {allowed}", remedy)
    return Check(name, True, version)


def gigabytes(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / (1 << 30):.1f} GiB"
