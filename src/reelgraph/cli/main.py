"""Main, exit codes, the group; `doctor`."""

import sys
from collections.abc import Sequence

import click

from reelgraph import machine
from reelgraph._version import __version__
from reelgraph.cli import console, data, evaluate, recommend, serve, train
from reelgraph.errors import ReelgraphError, StoppedError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 the user's input or environment is at fault, 1 a bug, 130 interrupted."""
    machine.set_environment()
    try:
        code = commands.main(arguments, prog_name="reelgraph", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "reelgraph"
        _fail(f"{where}: {error.format_message()} (see {where} --help)")
    except StoppedError as error:
        sys.stderr.write(f"reelgraph: interrupted: {error}; --resume goes on\n")
        sys.exit(130)
    except ReelgraphError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("reelgraph: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # The reader of our output, such as head, has had enough.
        sys.stderr.close()
        sys.exit(0)


def _fail(line: str) -> None:
    sys.stderr.write(f"error: {' '.join(line.split())}\n")
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="reelgraph")
def commands() -> None:
    """Predict ratings and recommend movies with a graph neural network."""


@commands.command()
@click.option("--engine", help="try this engine, too, such as spark://host:port, and its workers")
@click.option("--stage", help="directory that its workers should share; that of temporary files when not given")
def doctor(engine: str | None, stage: str | None) -> None:
    """Check the environment, and say what mends what is wrong."""
    from reelgraph.doctor.environment import checks  # noqa: PLC0415

    found = checks(engine, stage)
    console.show_checks(found)
    if any(check.ok is False for check in found):
        sys.exit(2)


for command in (
    train.train,
    data.prepare,
    recommend.predict,
    evaluate.evaluate,
    evaluate.report,
    recommend.recommend,
    recommend.similar,
    recommend.explain,
    train.update,
    train.forget,
    serve.serve,
    serve.export,
    data.plan,
    evaluate.bench,
):
    commands.add_command(command)
