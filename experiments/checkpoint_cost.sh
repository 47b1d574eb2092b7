#!/usr/bin/env bash
# Measures what checkpoints every 20 steps add to a step on an emulated cluster; reports to results/checkpoint_cost.
# usage: experiments/checkpoint_cost.sh [OPTION..]      --help tells more. Needs root and a build in build/. About 15 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh iproute2
exec .venv/bin/python -m experiments.checkpoint_cost "$@"
