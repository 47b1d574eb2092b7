#!/usr/bin/env bash
# Trains for hours on an emulated cluster while ranks are killed and frozen, links cut, disks filled and checkpoints damaged.
# usage: scripts/soak.sh [HOURS] [OPTION..]                                         default: 2 hours; needs root
#        scripts/soak.sh kills|damage|full-disk|restart [N] [OPTION..]              one kind of fault alone
# --help of each tells more. The last line is the result; all else is in runs/soak. Exit code 1 where anything was lost.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
[[ -x $python ]] || python=python3
trial=soak
case ${1:-} in
  kills | damage | full-disk | restart) trial=$1 && shift ;;
  soak) shift ;;
esac
exec "$python" -m experiments.faults "$trial" "$@"
