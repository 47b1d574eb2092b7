#!/usr/bin/env bash
# Trains on 2 to 16 emulated nodes and compares each step's time with that of lshdp explore; reports to results/explore_steps.
# usage: experiments/explore_steps.sh [OPTION..]      --help tells more. Needs root and a build in build/. About two hours.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m experiments.explore_steps "$@"
