"""`python -m reelgraph` is the command `reelgraph`."""

from reelgraph.cli.main import main

if __name__ == "__main__":
    main()
