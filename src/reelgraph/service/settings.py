"""Every setting of the service, validated once; secrets come from the environment or from files only."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from reelgraph.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_LEAST_KEY = 16  # characters of a key; shorter ones can be guessed


class Settings(BaseModel):
    """What the service does, and for whom; a field's description is its help on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database: str | None = Field(
        None,
        description="where ratings are kept: an SQLite file or postgresql+psycopg://USER@HOST/NAME; if not given, a "
        "file beside DIR",
    )
    watch: float = Field(2.0, ge=0, le=3600, description="seconds between looks for a newer model; 0 never looks")
    rate: float = Field(300.0, ge=0, description="requests a second of one client; 0 is no limit")
    body_limit: int = Field(262_144, ge=1024, description="largest body of a request, in bytes")
    grace: float = Field(20.0, ge=0, le=600, description="seconds that running requests get when the service stops")
    wait: bool = Field(False, description="start before there is a model; not ready until one is put in place")
    origins: str | None = Field(None, description="other sites whose pages may ask, separated by commas")
    bench: Path | None = Field(None, description="directory of bench results, for the leaderboard of /insights")
    compare: Path | None = Field(None, description="second model, whose lists /insights shows beside those of DIR")
    proxies: str = Field("127.0.0.1", description="proxies whose word on the client's address counts, or *")

    @property
    def local(self) -> bool:
        """Whether nobody but this machine can ask."""
        return self.host in LOOPBACK


class Keys(BaseModel):
    """Who may write and who may administer; None where no key is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    write: SecretStr | None = None
    admin: SecretStr | None = None


def secret(environ: Mapping[str, str], name: str) -> str | None:
    """The value of an environment variable, or the text of the file that `<name>_FILE` names.

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
    """The keys `REELGRAPH_WRITE_KEY` and `REELGRAPH_ADMIN_KEY`.

    Raises:
        ConfigError: if a key is short enough to be guessed; its value is not said.
    """
    found = {}
    for role in ("write", "admin"):
        name = f"REELGRAPH_{role.upper()}_KEY"
        key = secret(environ, name)
        if key is not None and len(key) < _LEAST_KEY:
            raise ConfigError(
                f"{name}: expected {_LEAST_KEY} characters or more, found {len(key)}", "take a longer one"
            )
        found[role] = None if key is None else SecretStr(key)
    return Keys(**found)
