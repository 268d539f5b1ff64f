"""The command `completion`."""

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from reelgraph.cli import progress
from reelgraph.cli.help import examples
from reelgraph.errors import ConfigError
from reelgraph.files import new_file, output_errors

SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=examples("reelgraph completion --install", 'eval "$(reelgraph completion bash)"'))
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.option("--install", is_flag=True, help="write the script to the place where the shell looks for it")
@click.pass_context
def completion(context: click.Context, shell: str | None, install: bool) -> None:
    """Print or install the completion script of a shell.

    SHELL is bash, zsh or fish; by default the one in the environment variable SHELL.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise ConfigError(f"completion: expected {', '.join(SHELLS)}, found {name or 'no SHELL'}", "name the shell")
    script = kind(context.find_root().command, {}, "reelgraph", "_REELGRAPH_COMPLETE").source()
    if not install:
        click.echo(script)
        return
    file, remark = _place(name)
    with output_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    with new_file(file) as temporary:
        temporary.write_text(script, encoding="utf-8")
    progress.note(f"{file}: completion for {name}; {remark}")


def _place(shell: str) -> tuple[Path, str]:
    """The file in which a shell looks for the completion of `reelgraph`, and what else it needs."""
    home, remark = Path.home(), "it works in new shells"
    if shell == "bash":
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
        file = data / "bash-completion" / "completions" / "reelgraph"
        return file, f"{remark}, or where the package bash-completion is missing, after `source {file}` in .bashrc"
    if shell == "fish":
        return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions/reelgraph.fish", remark
    lines = "fpath+=~/.zfunc; autoload -Uz compinit; compinit"
    return home / ".zfunc" / "_reelgraph", f"{remark} once .zshrc has the line `{lines}`"
