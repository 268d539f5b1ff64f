"""System programs that tests start; `script/test` installs them where it can."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

# Debian and Ubuntu, Fedora, macOS on either processor
POSTGRESQL = (
    "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin"
)  # fmt: skip
CHROMIUM = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)  # fmt: skip


def postgresql_programs() -> Path:
    """The directory of PostgreSQL's programs: the one on PATH, otherwise the newest."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = [path for place in POSTGRESQL for path in Path("/").glob(place.lstrip("/")) if (path / "initdb").is_file()]
    if not found:
        pytest.fail(
            "expected PostgreSQL's initdb, found none: install it (Debian, Ubuntu: apt-get install postgresql; "
            "macOS: brew install postgresql@17) or put its directory on PATH"
        )
    return max(found, key=lambda path: int(re.sub(r"\D", "", str(path)) or 0))


def proxy_program(name: str) -> str:
    """nginx or Caddy, on PATH or where Debian has programs for root."""
    return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin") or pytest.fail(
        f"expected {name}, found none: install it (Debian, Ubuntu: apt-get install {name}; macOS: brew install {name})"
    )


def chromium_program() -> str:
    """A Chromium or Google Chrome that starts."""
    for name in filter(None, (os.environ.get("REELGRAPH_CHROMIUM"), *CHROMIUM)):
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return pytest.fail(
        "expected Chromium or Google Chrome, found none that starts: install it (Debian: apt-get install chromium; "
        "Ubuntu, whose Chromium is a snap: Google Chrome's own package; macOS: brew install --cask chromium) "
        "or point REELGRAPH_CHROMIUM to it"
    )
