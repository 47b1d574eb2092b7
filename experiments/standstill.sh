#!/usr/bin/env bash
# How soon a rank that fails is named, and how soon the run ends, by kinds of faults; reports to results/standstill.
# usage: experiments/standstill.sh [OPTION..]      --help tells more. Needs root and a build in build/. About a minute a trial.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m experiments.standstill "$@"
