#!/usr/bin/env bash
# Sets up, builds and runs all tests; the last line is ctest's result. Further arguments go to ctest, e.g. -L unit.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
cmake --preset release
cmake --build --preset release -j "$(nproc)"

log=build/test.log
status=0
ctest --preset release -j 3 "$@" 2>&1 | tee "$log" || status=$?
echo
grep -E '^[0-9]+% tests passed' "$log" || echo "ctest did not finish"
exit "$status"
