"""The commands in docs/spark.md exist."""

import re
import shlex
from pathlib import Path

import click

from reelgraph.cli.main import commands
from reelgraph.engines.engine import check_name
from tests.support.clusters import spark_home

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "spark.md").read_text(encoding="utf-8")
CODE = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
LINES = [shlex.split(line) for line in CODE.splitlines()]


def test_documented_options_exist(tmp_path: Path) -> None:
    # The shared directory of the page is replaced by one that exists.
    shared = [[str(tmp_path) if word == "/shared/tmp" else word for word in words] for words in LINES]
    ours = [words[1:] for words in shared if words[0] == "reelgraph"]
    assert {"doctor", "prepare"} <= {words[0] for words in ours}
    for words in ours:
        command = commands.commands[words[0]]
        given = command.make_context(words[0], words[1:], parent=click.Context(commands)).params
        check_name(given["engine"])


def test_documented_programs_of_spark_exist() -> None:
    theirs = [words for words in LINES if words[0] != "reelgraph"]
    assert {words[0] for words in theirs} == {"spark-class", "spark-submit"}
    jars = " ".join(path.name for path in (spark_home() / "jars").glob("spark-*.jar"))
    assert all((spark_home() / "bin" / words[0]).is_file() for words in theirs)
    assert "spark-connect_" in jars


def test_documented_engines_exist() -> None:
    names = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
    for name in names[1:] if names[0] == "--engine" else names:
        check_name(name.replace("[N]", "[4]"))
    assert len(names) >= 5
