#!/usr/bin/env bash
# Everything behind the README's table, about three hours on two cores; what results/bench has is not run again.
# Finds MovieLens under REELGRAPH_DATA, or downloads it.
set -euo pipefail
cd "$(dirname "$0")"
out=results/bench
others=mean,bias,popularity,itemknn,svd,svdpp,als-implicit,myfm,ease

# Ours goes first: what it takes is the others' budget.
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
