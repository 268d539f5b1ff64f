"""Command-line options generated from the settings classes."""

import re
import tomllib
import types
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin

import click
from pydantic import BaseModel

from reelgraph.config import DataConfig
from reelgraph.data.rows import NUMBER
from reelgraph.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])
Config = TypeVar("Config", bound=BaseModel)
PATH = click.Path(path_type=Path)


class ScaleOption(click.ParamType[Any]):
    """A rating scale such as 1-5."""

    name = "LOW-HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: D102
        scale = re.fullmatch(rf"(?P<low>{NUMBER})-(?P<high>{NUMBER})", str(value).strip())
        if not scale:
            self.fail(f"expected a scale such as 1-5, found {value!r}", param, ctx)
        return float(scale["low"]), float(scale["high"])


class NumbersOption(click.ParamType[Any]):
    """Numbers such as 99 or -1,0."""

    name = "NUMBER,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: D102
        cells = [cell.strip() for cell in str(value).split(",")]
        if not all(re.fullmatch(NUMBER, cell) for cell in cells):
            self.fail(f"expected numbers such as 99 or -1,0, found {value!r}", param, ctx)
        return tuple(float(cell) for cell in cells)


class ColumnsOption(click.ParamType[Any]):
    """Column names by role."""

    name = "ROLE=NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: D102
        pairs = [part.partition("=") for part in str(value).split(",")]
        if not all(role and equals and name for role, equals, name in pairs):
            self.fail(f"expected user=NAME,item=NAME,rating=NAME, found {value!r}", param, ctx)
        return {role.strip(): name.strip() for role, _, name in pairs}


JSON = click.option("--json", "as_json", is_flag=True, help="print JSON")


class Files(NamedTuple):
    """The files of a data set; without ratings the bundled sample."""

    ratings: Path | None
    items: Path | None
    users: Path | None
    test: Path | None


def data_options(command: Command) -> Command:
    """Add RATINGS and the options that name input files; the command gets `Files` as its first argument."""

    @wraps(command)
    def run(ratings: Path | None, items: Path | None, users: Path | None, test: Path | None, **others: Any) -> Any:
        return command(Files(ratings, items, users, test), **others)

    for option in (
        click.option("--config", "config_file", type=PATH, help="TOML file with settings in tables [data] and [train]"),
        click.option("--test", type=PATH, help="test ratings; implies --split given"),
        click.option("--users", type=PATH, help="user table: side features"),
        click.option("--items", type=PATH, help="movie table: titles, years, genres and other side features"),
        click.argument("ratings", type=PATH, required=False),
    ):
        run = option(run)
    return cast("Command", run)


def settings_of(*configs: type[BaseModel], only: Collection[str] = ()) -> Callable[[Command], Command]:
    """Add an option for every field of the settings, whose description is the help; the command gets the settings.

    Args:
        configs: classes of settings.
        only: names of the fields that get an option; default: all.
    """
    fields = [
        (name, field) for config in configs for name, field in config.model_fields.items() if not only or name in only
    ]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(*files: Files, config_file: Path | None = None, **given: Any) -> Any:
            values = {name: given.pop(name) for name, _ in fields}
            return command(*files, *(read_settings(config, config_file, values) for config in configs), **given)

        for name, field in reversed(fields):
            option = name.replace("_", "-")
            flag = f"--{option}/--no-{option}" if field.annotation is bool else f"--{option}"
            default = {True: "on", False: "off"}[field.default] if isinstance(field.default, bool) else field.default
            text = f"{field.description}" + (f" [{default}]" if default not in (None, {}, ()) else "")
            run = click.option(flag, name, type=_type_of(field.annotation), default=None, help=text)(run)
        return cast("Command", run)

    return decorate


def reading(*others: str) -> Callable[[Command], Command]:
    """Add the options for files that a trained model is given; the command gets a `DataConfig` with them."""
    return settings_of(DataConfig, only=("columns", "missing", "matrix", "strict", *others))


def read_settings(config: type[Config], file: Path | None, given: dict[str, Any]) -> Config:
    """Settings from the command line, else from a TOML file, else the defaults."""
    section = "data" if config is DataConfig else "train"
    values = {} if file is None else _read_section(file, section)
    values = values | {name: given[name] for name in config.model_fields if given.get(name) is not None}
    return config(**values)


def _read_section(file: Path, section: str) -> dict[str, Any]:
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
    return values


def _type_of(annotation: Any) -> Any:
    """The click type of a field's annotation."""
    options = [part for part in get_args(annotation) if part is not type(None)]
    if annotation == tuple[float, ...]:
        return NumbersOption()
    if get_origin(annotation) is types.UnionType and len(options) == 1:
        return _type_of(options[0])
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    return {tuple: ScaleOption(), dict: ColumnsOption()}.get(get_origin(annotation), annotation)
