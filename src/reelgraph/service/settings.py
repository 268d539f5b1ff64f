"""Settings of the service, and keys from the environment."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from reelgraph.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_MIN_KEY = 16  # characters; shorter keys can be guessed


class Settings(BaseModel):
    """How to serve; the descriptions are the help texts of the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    grace: float = Field(20.0, ge=0, le=600, description="seconds to finish running requests when the service stops")
    wait: bool = Field(False, description="start without a model; not ready until one is put in place")
    origins: str | None = Field(None, description="other sites whose pages may use the service, separated by commas")
    bench: Path | None = Field(None, description="directory of bench results for the leaderboard of /insights")
    compare: Path | None = Field(None, description="second model whose lists /insights shows beside those of DIR")
    proxies: str = Field("127.0.0.1", description="proxies whose X-Forwarded-For is trusted, or *")

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in LOOPBACK


class Keys(BaseModel):
    """The keys for writing and administration, None where not set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    write: SecretStr | None = None
    admin: SecretStr | None = None


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """The value of the variable `name`, or the content of the file that the variable `<name>_FILE` names.

    Raises:
        ConfigError: if both are set, or the file cannot be read.
    """
    file = environ.get(f"{name}_FILE")
    if file is None:
        return environ.get(name) or None
    if environ.get(name):
        raise ConfigError(f"expected {name} or {name}_FILE, found both", "unset one of them")
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}_FILE: expected a text file, found {error}", "name a file that can be read") from None


def keys_of(environ: Mapping[str, str]) -> Keys:
    """The keys of the variables `REELGRAPH_WRITE_KEY` and `REELGRAPH_ADMIN_KEY`.

    Raises:
        ConfigError: if a key is too short; the message does not contain the key.
    """
    keys = {}
    for role in ("write", "admin"):
        name = f"REELGRAPH_{role.upper()}_KEY"
        key = secret(environ, name)
        if key is not None and len(key) < _MIN_KEY:
            raise ConfigError(f"{name}: expected {_MIN_KEY} characters or more, found {len(key)}", "use a longer key")
        keys[role] = None if key is None else SecretStr(key)
    return Keys(**keys)
