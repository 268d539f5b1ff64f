"""Options of the command line, made from the fields of the settings."""

import re
import tomllib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import BaseModel, ValidationError

from reelgraph.config import DataConfig
from reelgraph.data.sources import NUMBER
from reelgraph.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

Config = TypeVar("Config", bound=BaseModel)

PATH = click.Path(path_type=Path)


def settings_of(*configs: type[BaseModel]) -> Callable[[Command], Command]:
    """Add an option for every field of the settings, with the field's description as its help."""

    def decorate(command: Command) -> Command:
        for config in reversed(configs):
            for name, field in reversed(config.model_fields.items()):
                flag = f"--{name.replace('_', '-')}"
                shown = field.default is not None and field.default != {} and not isinstance(field.default, bool)
                text = f"{field.description}" + (f" [{field.default}]" if shown else "")
                if field.annotation is bool:
                    flag = f"{flag}/--no-{name.replace('_', '-')}"
                option = click.option(flag, name, type=_click_type(field.annotation), default=None, help=text)
                command = option(command)
        return command

    return decorate


class Scale(click.ParamType[Any]):
    """A rating scale such as 1-5."""

    name = "LOW-HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: D102
        found = re.fullmatch(rf"(?P<low>{NUMBER})-(?P<high>{NUMBER})", str(value).strip())
        if not found:
            self.fail(f"expected a scale such as 1-5, found {value!r}", param, ctx)
        return float(found["low"]), float(found["high"])


class Columns(click.ParamType[Any]):
    """Columns by role."""

    name = "user=NAME,item=NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: D102
        pairs = [part.partition("=") for part in str(value).split(",")]
        if not all(role and equals and name for role, equals, name in pairs):
            self.fail(f"expected user=NAME,item=NAME,rating=NAME, found {value!r}", param, ctx)
        return {role.strip(): name.strip() for role, _, name in pairs}


COLUMNS = click.option("--columns", type=Columns(), default=None, help=DataConfig.model_fields["columns"].description)


def data_options(command: Command) -> Command:
    """The options that `train` and `prepare` share."""
    for option in (
        click.option("--items", type=PATH, help="movie table: titles, years, genres, other side features"),
        click.option("--users", type=PATH, help="user table: side features"),
        click.option("--test", type=PATH, help="test ratings (the split then is `given`)"),
        click.option("--config", "config_file", type=PATH, help="settings in a TOML file, tables [data] and [train]"),
    ):
        command = option(command)
    return command


def _click_type(annotation: Any) -> Any:
    options = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is types.UnionType and len(options) == 1:
        return _click_type(options[0])
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    return {tuple: Scale(), dict: Columns()}.get(get_origin(annotation), annotation)


def settings(config: type[Config], file: Path | None, given: dict[str, Any]) -> Config:
    """Settings from the command line over those of a TOML file over the defaults."""
    section = "data" if config is DataConfig else "train"
    values: dict[str, Any] = {}
    if file is not None:
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: expected a TOML file, found {error}", "see docs/configuration.md") from None
        unknown = set(document) - {"data", "train"}
        if unknown:
            raise ConfigError(f"{file}: expected tables [data] and [train], found [{min(unknown)}]", "rename it")
        values = document.get(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: expected a table [{section}], found {values!r}", "see docs/configuration.md")
    values = values | {name: given[name] for name in config.model_fields if given.get(name) is not None}
    try:
        return config(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or section
        known = (
            f"the settings are {', '.join(config.model_fields)}" if first["type"] == "extra_forbidden" else "correct it"
        )
        raise ConfigError(f"setting {where}: {first['msg'].lower()}, found {first['input']!r}", known) from None
