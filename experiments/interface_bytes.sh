#!/usr/bin/env bash
# Counts the bytes that a step of ddp, fsdp and lsdp sends on an emulated cluster, and one of adapters; reports to results/interface_bytes.
# usage: experiments/interface_bytes.sh [OPTION..]      --help tells more. Needs root and a build in build/. About 4 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh iproute2
exec .venv/bin/python -m experiments.interface_bytes "$@"
