"""The commands by name, and how their help is laid out."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

# Headings of the options in the help of commands with many, by parameter. The others stand under "Options".
HEADINGS = {
    "For whom": ("user", "ratings", "only_watchlist", "together", "strategy", "everyone"),
    "Lists": ("k", "order", "diversity", "calibration", "popularity_penalty"),
    "Filters": ("genre", "year", "min_ratings", "allow", "deny", "include_seen"),
    "Files": ("items", "users", "test", "out", "config_file"),
    "Reading files": (
        "columns", "item_columns", "user_columns", "scale", "missing", "implicit", "matrix", "strict",
    ),
    "Validation and test ratings": ("split", "valid_share", "test_share", "last", "split_seed", "use_all"),
    "Model": ("model", "seed", "dim", "session", "side_features", "ranking"),
    "Training": (
        "tune", "max_steps", "patience", "eval_every", "min_improvement", "refit", "hide", "newcomers", "dropout",
        "huber_delta", "l2", "side_l2", "learning_rate", "decay_steps", "average",
    ),
    "Ranking head": (
        "rank_dim", "temperature", "rank_l2", "rank_hide", "rank_newcomers", "rank_dropout", "rank_max_steps",
    ),
    "Size instead of RATINGS": ("num_ratings", "num_users", "num_movies"),
    "Where and how it runs": (
        "engine", "stage", "partitions", "processes", "device", "checkpoint_seconds", "resume", "plan_check",
    ),
}  # fmt: skip


class GroupedCommand(click.Command):
    """A command whose help has its options under `HEADINGS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: D102
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        records = {option.name: option.get_help_record(ctx) for option in options}
        sections = [(heading, [records.pop(name, None) for name in names]) for heading, names in HEADINGS.items()]
        for heading, lines in [*sections, ("Options", list(records.values()))]:
            if shown := [line for line in lines if line is not None]:
                with formatter.section(heading):
                    formatter.write_dl(shown)


class Commands(click.Group):
    """The program: its help lists the commands under headings, and a command is imported when it is called."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.sections = {heading: [place.split(".") for place in places] for heading, places in sections.items()}
        self.modules = {name: module for places in self.sections.values() for module, name in places}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, D102
        return sorted(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002, D102
        return self.load(cmd_name) if cmd_name in self.modules else None

    def load(self, name: str) -> click.Command:
        """Import a command."""
        command: click.Command = getattr(import_module(f"reelgraph.cli.{self.modules[name]}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002, D102
        for heading, places in self.sections.items():
            with formatter.section(heading):
                limit = formatter.width - 6 - max(map(len, self.modules))
                formatter.write_dl([(name, self.load(name).get_short_help_str(limit)) for _, name in places])


def examples(*lines: str) -> str:
    """The end of a command's help: examples, not wrapped."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
