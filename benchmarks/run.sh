#!/usr/bin/env bash
# Everything behind the README's table, about two hours on two cores; what results/bench has is not run again.
# Finds MovieLens under REELGRAPH_DATA, or downloads it.
set -euo pipefail
cd "$(dirname "$0")"
out=results/bench
ours=residual,residual-no-time,residual-ratings-only
others=mean,bias,popularity,itemknn,svd,svdpp,als-implicit,myfm,ease

reelgraph bench ml-100k-u1 --models "$ours" --seeds 5 --out "$out"
reelgraph bench ml-latest-small --models residual,residual-no-time --seeds 3 --out "$out"
reelgraph bench ml-1m-90-10 --models residual-ratings-only --seeds 3 --out "$out"
reelgraph bench ml-latest-small --models "$others" --seeds 2 --out "$out"
reelgraph bench ml-100k-u1 --models "$others" --seeds 2 --out "$out"
reelgraph bench ml-100k-u1 --models gcn --seeds 1 --out "$out"
reelgraph bench ml-1m-90-10 --models mean,bias,popularity,svd,als-implicit,ease --seeds 1 --budget 60 --out "$out"
python readme.py
