"""`python -m reelgraph` is the command `reelgraph`."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it in one line, also while its libraries are still imported."""
    try:
        from reelgraph.cli.main import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("reelgraph: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
