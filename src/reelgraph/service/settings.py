"""Settings of the service, and keys from the environment."""

import ipaddress
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from reelgraph.config import Checked
from reelgraph.errors import ConfigError

_MIN_KEY = 16  # characters; shorter keys can be guessed
_MAX_SECRET = 65_536  # characters of a file with a secret
_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>s|m|min|h|d)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}  # seconds


class Settings(Checked):
    """How to serve; the descriptions are the help texts of the command line."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database: str | None = Field(
        None,
        description="where to store ratings: an SQLite file or postgresql+psycopg://USER@HOST/NAME; by default a file "
        "beside DIR",
    )
    watch: float = Field(2.0, ge=0, le=3600, description="seconds between looks for a newer model; 0 never looks")
    rate: float = Field(300.0, ge=0, description="requests a second for each client; 0 is no limit")
    body_limit: int = Field(262_144, ge=1024, description="largest request body, in bytes")
    export_limit: int = Field(
        8_388_608, ge=1024, description="largest export of a visitor's films from another service, in bytes"
    )
    grace: float = Field(20.0, ge=0, le=600, description="seconds to finish running requests when the service stops")
    wait: bool = Field(False, description="start without a model; not ready until one is put in place")
    origins: str | None = Field(None, description="other sites whose pages may use the service, separated by commas")
    bench: Path | None = Field(None, description="directory of bench results for the leaderboard of /insights")
    compare: Path | None = Field(None, description="second model whose lists /insights shows beside those of DIR")
    keep: Literal["ask", "browser", "server"] = Field(
        "ask",
        description="where the page keeps ratings: in the browser, on the server, or where the visitor says",
    )
    posters: Path | None = Field(
        None, description="folder for posters from TMDB, fetched if REELGRAPH_TMDB_KEY is set; by default beside DIR"
    )
    tmdb: str | None = Field(
        None, pattern=r"^https?://", description="address of a proxy that answers for TMDB's API and images"
    )
    proxies: str | None = Field(
        None, description="addresses or networks of proxies whose X-Forwarded-For is trusted, separated by commas"
    )
    learn_every: str | None = Field(
        None, description="let the model learn from new ratings so often, such as 30m, 1h or 1d; by default never"
    )
    learn_after: int | None = Field(None, ge=1, description="also, or only, after so many changes of ratings")
    refit_every: str | None = Field(
        None,
        description="train anew so often on the model's own ratings and the new ones, such as 24h; by default never",
    )
    learn_memory: float | None = Field(
        None, gt=0, description="most memory for learning, in GB; by default half of this machine's"
    )
    learn_priority: Literal["idle", "low", "normal"] = Field(
        "idle",
        description="idle learns while a processor has nothing else to do, low takes a small share of a busy one",
    )
    learn_threads: int = Field(1, ge=1, le=1024, description="threads for learning")
    open: bool = Field(
        False, description="let all users of this machine write and administer without a key; for a loopback --host"
    )

    @field_validator("learn_every", "refit_every")
    @classmethod
    def _is_duration(cls, text: str | None) -> str | None:
        if text is not None and seconds_of(text) < 1:
            raise ValueError("expected a duration of 1s or more")
        return text

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @property
    def sites(self) -> list[str]:
        """The other sites whose pages may use the service."""
        return [origin.strip() for origin in (self.origins or "").split(",") if origin.strip()]


class Keys(BaseModel):
    """The keys for writing and administration, and the operator's key of TMDB, None where not set."""

    write: SecretStr | None = None
    admin: SecretStr | None = None
    tmdb: SecretStr | None = None


def seconds_of(duration: str) -> float:
    """The seconds of a duration such as 90s, 30m, 1.5h or 1d; ValueError if it is none."""
    match = _DURATION.fullmatch(duration.strip().lower())
    if match is None:
        raise ValueError("expected a duration with its unit, such as 90s, 30m, 1h or 1d")
    return float(match["number"]) * _UNITS[match["unit"]]


def is_loopback(host: str) -> bool:
    """Whether a host is a loopback address or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """The value of the variable `name`, or the content of the file that the variable `<name>_FILE` names.

    Raises:
        ConfigError: if both are set, the value is empty, or the file cannot be read.
    """
    file = environ.get(f"{name}_FILE")
    if file is not None and name in environ:
        raise ConfigError(f"expected {name} or {name}_FILE, found both", "unset one of them")
    value = environ.get(name)
    if file is not None:
        try:
            with Path(file).open(encoding="utf-8") as opened:
                value = opened.read(_MAX_SECRET).strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name}_FILE: expected a text file, found {error}", "name a readable file") from None
    if value == "":
        raise ConfigError(f"{name}: expected a value, found an empty one", f"set it, or unset {name} and {name}_FILE")
    return value


def keys_of(environ: Mapping[str, str]) -> Keys:
    """The keys of the variables `REELGRAPH_WRITE_KEY`, `REELGRAPH_ADMIN_KEY` and `REELGRAPH_TMDB_KEY`.

    Raises:
        ConfigError: if a key is empty, too short, or not fit for a header; the message does not contain the key.
    """
    keys = {}
    for role in ("write", "admin", "tmdb"):
        name = f"REELGRAPH_{role.upper()}_KEY"
        key = secret(environ, name)
        if key is not None and len(key) < _MIN_KEY:
            raise ConfigError(f"{name}: expected {_MIN_KEY} characters or more, found {len(key)}", "use a longer key")
        if key is not None and (not key.isprintable() or key != key.strip()):
            raise ConfigError(f"{name}: expected printable characters, found others", "use letters and digits")
        keys[role] = None if key is None else SecretStr(key)
    return Keys(**keys)


def generated_keys(keys: Keys) -> Keys:
    """The keys with one random key for writing and administration."""
    key = SecretStr(secrets.token_urlsafe(24))
    return keys.model_copy(update={"write": key, "admin": key})
