#!/usr/bin/env bash
# Builds tests with sanitizers and runs them; the last line says how many ran and how many failed.
# usage: scripts/sanitize.sh asan|tsan [FOLDER...] [-- CTEST_ARGUMENTS]
#   asan: AddressSanitizer and UndefinedBehaviorSanitizer. tsan: ThreadSanitizer.
#   FOLDER: of tests/; without any, asan takes all that hold C++ tests, tsan comm, parallel and train.
# Tests of ranks run with two of them, or with the fewest above where two are not offered. What is not looked at stands in
# cmake/sanitizers, each with its reason. JOBS: processes that compile at a time (default: the number of cores).
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '3,7p' "$0"; }

kind=${1:-} folders=() arguments=()
case $kind in
  asan) default=(core core_memory comm data model plan explore parallel measure train fuzz cli) ;;
  tsan) default=(comm parallel train) ;;
  --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
shift
while [[ $# -gt 0 && $1 != -- ]]; do
  [[ -f tests/$1/CMakeLists.txt ]] || { echo "sanitize: there is no folder tests/$1" >&2; exit 2; }
  folders+=("$1")
  shift
done
[[ $# -eq 0 ]] || arguments=("${@:2}")
[[ ${#folders[@]} -gt 0 ]] || folders=("${default[@]}")
build=build-$kind settings=$PWD/cmake/sanitizers

# Tests of a folder by name, one number of ranks each.
tests_of() {
  ctest --test-dir "$build/tests/$1" -N | sed -nE 's/^ *Test +#[0-9]+: ([^ ]+).*/\1/p' | awk '
    match($0, /\.[0-9]+$/) {
      name = substr($0, 1, RSTART - 1); ranks = substr($0, RSTART + 1) + 0
      if (ranks >= 2 && (!(name in fewest) || ranks < fewest[name])) fewest[name] = ranks
      next
    }
    /^(test|fuzz)_/ { print }
    END { for (name in fewest) print name "." fewest[name] }'
}

# NAME.CASE in each line, behind it the reason.
left_out() { sed -nE 's/^([^# ]+).*/\1/p' "$settings/$1" | paste -sd:; }

# Open MPI and LibTorch are not instrumented: what they do to memory is not seen, only what they lock. Open MPI leaves
# memory to the end of the process and unloads what could say whose it was, so that leaks are looked for without it.
run_tests() {
  local label=$1 leaks=$2 pattern=$3
  local -a start=()
  export GTEST_FILTER GTEST_COLOR=no
  GTEST_FILTER="-$(left_out "not_under_$kind.txt")"
  export ASAN_OPTIONS="detect_leaks=$leaks:detect_stack_use_after_return=1"
  export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
  export LSAN_OPTIONS="suppressions=$settings/lsan.supp:print_suppressions=0"
  export TSAN_OPTIONS="suppressions=$settings/tsan.supp:ignore_noninstrumented_modules=1:second_deadlock_stack=1:history_size=4"
  if [[ $kind == tsan ]]; then
    export OMP_NUM_THREADS=1  # libgomp's own barriers are not seen
    # The shadow memory has fixed places, which a kernel that scatters widely may have given away.
    setarch -R true 2>/dev/null && start=(setarch -R)
  fi
  rm -f "$build/Testing/Temporary/LastTest.log"
  "${start[@]}" ctest --test-dir "$build" -L "$label" -R "$pattern" --output-on-failure --no-tests=ignore "${arguments[@]}" ||
    status=1
  cat "$build/Testing/Temporary/LastTest.log" >>"$log" 2>/dev/null || true
}

scripts/setup.sh
cmake --preset "$kind" >/dev/null
targets=("${folders[@]/#/tests/}")
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${targets[@]/%//all}"

status=0 log=$build/sanitize.log
: >"$log"
for folder in "${folders[@]}"; do
  pattern="^($(tests_of "$folder" | sed 's/\./\\./g' | paste -sd'|'))\$"
  leaks=1
  [[ $folder != cli ]] || leaks=0  # its tests start mpirun
  run_tests unit "$leaks" "$pattern"
  run_tests mpi 0 "$pattern"
done
programs=$(grep -cE '^Test (Passed|Failed)' "$log" || true)
echo "sanitize: $kind: $programs programs, $(grep -c '^\[       OK \]' "$log") tests passed," \
  "$(grep -cE '^\[  FAILED  \] .*\([0-9]+ ms\)$' "$log") failed;" \
  "$([[ $status == 0 ]] && echo nothing found || echo "see $log")"
exit "$status"
