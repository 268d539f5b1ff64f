"""The command `doctor`."""

import sys

import click

from reelgraph.cli import console


@click.command()
@click.option("--engine", help="also test this engine and its workers, such as spark://host:port")
@click.option("--stage", help="directory shared with the workers [default: the directory for temporary files]")
def doctor(engine: str | None, stage: str | None) -> None:
    """Check this environment and say how to fix it.

    Checks Python, the libraries, memory, disk and Spark.
    """
    from reelgraph.doctor.environment import checks  # noqa: PLC0415

    findings = checks(engine, stage)
    console.show_checks(findings)
    if any(check.ok is False for check in findings):
        sys.exit(2)
