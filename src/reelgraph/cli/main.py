"""The `reelgraph` command: its subcommands and exit codes."""

import atexit
import codecs
import gc
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

import click

from reelgraph._version import __version__
from reelgraph.cli.help import Commands, examples
from reelgraph.errors import ReelgraphError, StoppedError
from reelgraph.files import temporary_directory


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 success, 2 bad input or environment, 130 interrupted, 1 internal error."""
    _prepare_streams()
    # Imports make many objects, all of which stay. Looking through them for garbage takes a tenth of the imports' time,
    # and at the end half a second after PyTorch.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    stdout = sys.stdout
    try:
        code = commands.main(arguments, prog_name="reelgraph", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as end:
        # rich and click exit with 1 when the reader of a pipe, such as head, has closed it; click replaces stdout then.
        closed = isinstance(end.__context__, BrokenPipeError) or sys.stdout is not stdout
        sys.exit(0 if closed else end.code)
    except BrokenPipeError:
        _discard(sys.stdout)
        sys.exit(0)
    except StoppedError as error:
        _exit(f"reelgraph: interrupted: {error}; continue with --resume", 130)
    except (click.Abort, KeyboardInterrupt):
        _exit("reelgraph: interrupted", 130)
    except Exception as error:
        if _is_interrupt(error):
            _exit("reelgraph: interrupted", 130)
        line = _message(error)
        if line is None:
            raise
        _exit(f"error: {line}", 2)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error; DuckDB raises a RuntimeError on KeyboardInterrupt."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _message(error: Exception) -> str | None:
    """What to tell the user about an error of input or environment; None for an internal error."""
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = context.command_path if context else "reelgraph"
        return f"{where}: {error.format_message()} (see {where} --help)"
    if isinstance(error, ReelgraphError):
        return str(error)
    if isinstance(error, OSError):
        where = "output" if error.filename is None else os.fsdecode(error.filename)
        return f"{where}: {error.strerror or error}; check the path and the free space"
    if isinstance(error, MemoryError):
        return "expected enough memory, found too little; close other programs or use a machine with more"
    if isinstance(error, UnicodeEncodeError) and "\udc80" <= error.object[error.start] <= "\udcff":
        return f"{error.object}: expected a name in UTF-8, found other bytes; rename the file"
    return None


def _exit(line: str, code: int) -> NoReturn:
    line = " ".join(line.split())
    if sys.stderr.isatty():  # which would break long words at its edge otherwise; paths stay whole
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
    _discard(sys.stdout)
    sys.exit(code)


def _prepare_streams() -> None:
    """Make every text printable: file names keep their bytes, and characters that a stream lacks become "?"."""
    codecs.register_error("reelgraph", _encode_anyway)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="reelgraph")


def _encode_anyway(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    encoded = b"".join(
        bytes([ord(character) - 0xDC00]) if "\udc80" <= character <= "\udcff" else b"?" for character in text
    )
    return encoded, error.end


def _discard(stream: TextIO) -> None:
    """Send what is left in a stream's buffer nowhere, so that Python does not fail to write it at exit."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(
    cls=Commands,
    sections={
        "Train": ("train.train", "data.prepare", "data.plan", "train.update", "train.forget"),
        "Ask a model": (
            "recommend.recommend",
            "recommend.search",
            "recommend.similar",
            "recommend.explain",
            "recommend.predict",
            "recommend.ask",
        ),
        "Measure": ("evaluate.evaluate", "evaluate.report", "evaluate.bench", "compare.diff", "compare.rerun"),
        "Serve": ("demo.demo", "serve.serve", "serve.learn", "serve.export"),
        "Set up": ("doctor.doctor", "completion.completion"),
    },
    epilog=examples(
        "reelgraph demo                                # a model of the bundled sample, served",
        "reelgraph train ratings.csv --items movies.csv --out model",
        "reelgraph recommend model --user 1",
    ),
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="reelgraph")
@click.pass_context
def commands(context: click.Context) -> None:
    """Predict ratings and recommend movies with a graph neural network."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    elif context.invoked_subcommand not in {"completion", "demo", "doctor", "serve"}:
        context.with_resource(temporary_directory())
