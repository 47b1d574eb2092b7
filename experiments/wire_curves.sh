#!/usr/bin/env bash
# Does --wire bf16 hurt training? Loss curves of exact and bf16 on real data, 4 ranks on this machine; reports to results/wire.
# usage: experiments/wire_curves.sh [OPTION..]      --help tells more. Needs a build in build/. A few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m experiments.wire_curves "$@"
