"""Posters from TMDB: fetched once with the operator's key, kept in a folder, and served from here."""

import asyncio
import json
import os
import re
import time
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request as Asked
from urllib.request import urlopen

from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from reelgraph.files import new_file
from reelgraph.service.telemetry import LOGGER

API, IMAGES = "https://api.themoviedb.org", "https://image.tmdb.org"
_MOST_BYTES = 2_000_000
_TIMEOUT = 8.0  # seconds
_AT_A_TIME = 4
_PAUSE = 60.0  # seconds without requests after one has failed
_FORGET = 7 * 86_400.0  # seconds after which a movie without a poster is asked for again
_PATH = re.compile(r"/[A-Za-z0-9_-]+\.jpg")
_JPEG = b"\xff\xd8\xff"


class Posters:
    """The posters of movies by TMDB id.

    Args:
        folder: where they are kept; an empty file is a movie without a poster.
        key: an API key or a read access token of TMDB.
        address: what answers for TMDB's API and images, by default TMDB itself.
    """

    def __init__(self, folder: Path, key: SecretStr, address: str | None = None) -> None:
        self.folder, self._key = folder, key
        self._api, self._images = (address.rstrip("/"),) * 2 if address else (API, IMAGES)
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        self._paused_until = 0.0

    async def get(self, tmdb_id: str) -> bytes:
        """The poster as JPEG, empty if there is none or TMDB does not answer."""
        file = self.folder / f"{tmdb_id}.jpg"
        kept = _read(file)
        if kept is None:
            async with self._turns:
                kept = _read(file)  # The same poster may have been fetched meanwhile.
                if kept is None and time.monotonic() >= self._paused_until:
                    kept = await run_in_threadpool(self._fetch, tmdb_id, file)
        return kept or b""

    def _fetch(self, tmdb_id: str, file: Path) -> bytes | None:
        try:
            about = json.loads(self._ask(f"{self._api}/3/movie/{tmdb_id}", with_key=True) or b"{}")
            path = about.get("poster_path") if isinstance(about, dict) else None
            known = isinstance(path, str) and _PATH.fullmatch(path)
            image = self._ask(f"{self._images}/t/p/w342{path}") if known else b""
            if image and not image.startswith(_JPEG):
                raise ValueError("expected a JPEG image, found other content")
            self.folder.mkdir(parents=True, exist_ok=True)
            with new_file(file) as temporary:
                temporary.write_bytes(image)
        except (OSError, ValueError) as error:
            self._paused_until = time.monotonic() + _PAUSE
            LOGGER.warning("poster not fetched", extra={"facts": {"tmdb": tmdb_id, "why": type(error).__name__}})
            return None
        return image

    def _ask(self, url: str, *, with_key: bool = False) -> bytes:
        """The content at an address, empty if there is none."""
        headers, key = {"Accept": "*/*", "User-Agent": "reelgraph"}, self._key.get_secret_value()
        if with_key and "." in key:  # a token
            headers["Authorization"] = f"Bearer {key}"
        elif with_key:
            url += f"?api_key={quote(key, safe='')}"
        asked = Asked(url, headers=headers)  # noqa: S310  # https, or --tmdb, which is an http address as well
        try:
            with urlopen(asked, timeout=_TIMEOUT) as answer:  # noqa: S310
                content: bytes = answer.read(_MOST_BYTES + 1)
        except OSError as error:
            if getattr(error, "code", None) == 404:
                return b""
            raise
        if len(content) > _MOST_BYTES:
            raise ValueError(f"expected at most {_MOST_BYTES:,} bytes, found more")
        return content


def _read(file: Path) -> bytes | None:
    """What is kept of a poster; None if it must be fetched."""
    try:
        with file.open("rb") as opened:
            content = opened.read()
            return content if content or time.time() - os.fstat(opened.fileno()).st_mtime < _FORGET else None
    except OSError:
        return None
