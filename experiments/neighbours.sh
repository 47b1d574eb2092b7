#!/usr/bin/env bash
# Is the solved split the fastest? Trains it and its neighbours in turn on an emulated cluster; reports to results/neighbours.
# usage: experiments/neighbours.sh [OPTION..]      --help tells more. Needs root and a build in build/. About 25 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m experiments.neighbours "$@"
