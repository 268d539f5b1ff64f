"""`python -m reelgraph` is the command `reelgraph`."""

import signal
import sys


def main() -> None:
    """Run the command; Ctrl-C ends it in one line, also while its libraries are still imported."""
    try:
        from reelgraph.cli.main import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("reelgraph: interrupted\n")
        sys.exit(130)
    try:
        run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # The work is done, and its exit code is known.


if __name__ == "__main__":
    main()
