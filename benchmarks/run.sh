#!/usr/bin/env bash
# Measures all methods of docs/results.md, the most important runs first. It may be stopped at any time and run again:
# finished runs in results/bench are kept, so a new version of the models needs --fresh, which starts over.
#   benchmarks/run.sh [--fresh]
# Reads the data sets from REELGRAPH_DATA, or downloads MovieLens. AT_ONCE runs, 2 by default, have one thread each.
set -euo pipefail
cd "$(dirname "$0")"
out=results/bench
if [ "${1:-}" = --fresh ]; then rm -rf "$out"; fi
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
trap 'python tables.py' EXIT # with what there is, however this ends

ours=residual,residual-no-time,residual-ratings-only
quick=mean,bias,popularity,ease,als-implicit,svd,myfm
slow=lightgcn,itemknn,svdpp

# measure SEEDS METHODS DATASET...: seeds 0 to SEEDS - 1
measure() { reelgraph bench "${@:3}" --models "$2" --seeds "$1" --no-cold --at-once "${AT_ONCE:-2}" --out "$out"; }

# A minute for the slowest search on u1, since ours takes less there than one or two of its trials.
measure 3 myfm ml-100k-u1 --budget 60

# Every data set once, then more seeds.
measure 1 "$ours,$quick,$slow" ml-100k-u1
measure 1 "$ours,$quick,lightgcn" ml-latest-small movietweetings-100k filmtrust
measure 1 "$ours,mean,bias,popularity,ease,als-implicit" ml-1m-90-10
measure 3 "$ours,$quick,$slow" ml-100k-u1
measure 1 svd,myfm ml-1m-90-10
measure 1 "$ours,$quick" ml-100k-5fold
measure 2 "$ours,$quick,lightgcn" ml-latest-small movietweetings-100k filmtrust
measure 3 "$ours,$quick,$slow" ml-latest-small movietweetings-100k filmtrust
measure 5 "$ours,$quick" ml-100k-u1
measure 3 "$ours,$quick" ml-1m-90-10
measure 1 "$slow" ml-100k-5fold
reelgraph bench ml-100k-u1 --models residual --seeds 3 --cold --at-once "${AT_ONCE:-2}" --out "$out"
measure 1 gcn ml-100k-u1
measure 5 "$slow" ml-100k-u1
measure 1 "$slow" ml-1m-90-10
