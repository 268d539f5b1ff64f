#!/usr/bin/env bash
# Runs the comparison in the README, about three hours on two cores. Runs in results/bench are not repeated.
# Reads MovieLens from REELGRAPH_DATA, or downloads it.
set -euo pipefail
cd "$(dirname "$0")"
out=results/bench
others=mean,bias,popularity,itemknn,svd,svdpp,als-implicit,myfm,ease

# The default model runs first: its time is the budget of the others.
reelgraph bench ml-100k-u1 --models residual --seeds 5 --out "$out"
reelgraph bench ml-100k-u1 --models residual-no-time,residual-ratings-only --seeds 3 --out "$out"
reelgraph bench ml-latest-small --models residual --seeds 3 --no-cold --out "$out"
reelgraph bench ml-1m-90-10 --models residual-ratings-only --seeds 3 --out "$out"
reelgraph bench ml-1m-90-10 --models als-implicit,ease --seeds 3 --out "$out"
reelgraph bench ml-1m-90-10 --models mean,bias,popularity,svd --seeds 1 --budget 60 --out "$out"
reelgraph bench ml-latest-small --models als-implicit,ease --seeds 3 --out "$out"
reelgraph bench ml-latest-small --models "$others" --seeds 2 --out "$out"
reelgraph bench ml-100k-u1 --models "$others" --seeds 2 --out "$out"
reelgraph bench ml-100k-u1 --models gcn --seeds 1 --out "$out"
python tables.py
