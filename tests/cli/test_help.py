"""The help of the commands, and their completion in a shell."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from reelgraph.cli.help import HEADINGS, GroupedCommand
from reelgraph.cli.main import commands as program

Command = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = {name: program.load(name) for name in program.modules}


def test_the_program_alone_shows_its_help(command: Command) -> None:
    alone = command()
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout == command("--help").stdout
    lines = [line.split() for line in alone.stdout.splitlines()]
    described = {words[0]: words[1:] for words in lines if len(words) > 1 and words[0] in COMMANDS}
    assert described.keys() == COMMANDS.keys(), "every command stands under a heading"
    assert not any(words[-1].endswith("...") for words in described.values()), "no description is cut"


def test_every_setting_stands_under_a_heading() -> None:
    named = [name for names in HEADINGS.values() for name in names]
    assert len(named) == len(set(named))
    grouped = [command for command in COMMANDS.values() if isinstance(command, GroupedCommand)]
    for command in grouped:
        options = {option.name for option in command.params if isinstance(option, click.Option)}
        assert options - set(named) <= {"as_json"}
        with click.Context(command) as context:
            text = command.get_help(context)
        assert all(text.count(f"  {option.opts[0]}") for option in command.params if isinstance(option, click.Option))
    assert {name for command in grouped for name in (option.name for option in command.params)} >= set(named)


def test_every_short_option_has_a_long_form() -> None:
    for command in [program, *COMMANDS.values()]:
        with click.Context(command) as context:
            for option in command.get_params(context):
                names = option.opts if isinstance(option, click.Option) else ["--"]
                assert any(name.startswith("--") for name in names), f"{command.name} {names}"


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_examples_of_the_help_are_understood(name: str) -> None:
    command = COMMANDS[name] if name else program
    for line in re.findall(r"^ +reelgraph (.*)$", command.epilog or "", re.MULTILINE):
        words = shlex.split(line, comments=True)
        assert not name or words[0] == name
        called = COMMANDS[words[0]]
        assert called.make_context(words[0], words[1:])
    if isinstance(command, GroupedCommand):
        assert "Examples" in (command.epilog or "")


def test_short_and_long_options_mean_the_same(command: Command, model_dir: Path) -> None:
    short, long = (command("recommend", model_dir, "--user", 1, name, 3, "--json") for name in ("-k", "--length"))
    assert short.returncode == 0, short.stderr
    assert short.stdout == long.stdout


def test_completion_of_commands_options_and_values() -> None:
    """As a shell asks for it: the words typed so far in the environment."""

    def completed(line: str) -> set[str]:
        words = line.split(" ")
        asked = {"_REELGRAPH_COMPLETE": "fish_complete", "COMP_WORDS": line, "COMP_CWORD": words[-1]}
        done = subprocess.run(
            [sys.executable, "-m", "reelgraph"], env=os.environ | asked, capture_output=True, text=True, check=True
        )
        return {row.partition(",")[2].split("\t")[0] for row in done.stdout.splitlines()}

    assert completed("reelgraph s") == {"search", "serve", "similar"}
    assert "--genre" in completed("reelgraph recommend model --g")
    assert completed("reelgraph train --tune ") == {"none", "quick", "full"}


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".local/share/bash-completion/completions/reelgraph"),
        ("fish", ".config/fish/completions/reelgraph.fish"),
        ("zsh", ".zfunc/_reelgraph"),
    ],
)
def test_a_completion_script_is_printed_or_installed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, place: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    printed, installed = command("completion"), command("completion", shell, "--install")
    assert (printed.returncode, installed.returncode) == (0, 0), printed.stderr + installed.stderr
    assert "_REELGRAPH_COMPLETE" in printed.stdout
    assert (tmp_path / place).read_text().strip() == printed.stdout.strip()
    assert str(tmp_path / place) in installed.stderr


def test_bash_completes_with_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    script = 'eval "$(reelgraph completion bash)"; COMP_WORDS=(reelgraph pre); COMP_CWORD=1; _reelgraph_completion '
    script += 'reelgraph; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"predict", "prepare"}


def test_an_unknown_shell_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    done = command("completion")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected bash, zsh, fish, found tcsh" in done.stderr
