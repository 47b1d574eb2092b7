#!/usr/bin/env bash
# Times all-reduces on 2, 3 and 4 emulated nodes beside MPI_Allreduce and beside a computation; reports to results/allreduce.
# usage: experiments/allreduce.sh [OPTION..]      --help tells more. Needs root and a build in build/. About 12 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v iperf3 >/dev/null || scripts/setup.sh iproute2 iperf3
exec .venv/bin/python -m experiments.allreduce "$@"
