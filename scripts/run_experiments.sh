#!/usr/bin/env bash
# Sets up, builds and runs experiments (experiments/*.yaml) beside PyTorch on an emulated cluster; reports to results/NAME.
# usage: scripts/run_experiments.sh [--quick] [DEFINITION..] [OPTION..]      --help tells more. Needs root for the cluster.
# What is finished is kept: interrupted and started again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh --baselines iproute2
for argument in "$@"; do
  [[ $argument == --help || $argument == -h || $argument == --report-only ]] && exec .venv/bin/python -m experiments "$@"
done
cmake --preset release >/dev/null
cmake --build --preset release --target lshdp delay_relay -j "$(nproc)"
exec .venv/bin/python -m experiments "$@"
