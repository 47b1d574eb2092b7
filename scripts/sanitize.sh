#!/usr/bin/env bash
# Builds tests with sanitizers and runs them; a table at the end, and a line that says whether something was found.
# usage: scripts/sanitize.sh [--no-build] asan|tsan [FOLDER...] [-- CTEST_ARGUMENTS]
#   asan: AddressSanitizer and UndefinedBehaviorSanitizer, of clang. tsan: ThreadSanitizer.
#   FOLDER: of tests/; without any, asan takes all that hold C++ tests, tsan comm, parallel and train.
#   --no-build: runs what is built already.
# Tests of ranks run with two of them, or with the fewest above where two are not offered. What is not looked at stands in
# cmake/sanitizers, each with its reason. JOBS: processes that compile at a time (default: the number of cores).
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '3,9p' "$0"; }

builds=true
if [[ ${1:-} == --no-build ]]; then
  builds=false
  shift
fi
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
# Reports go to files, since programs that a test starts may write where nobody looks.
run_tests() {
  local label=$1 leaks=$2 pattern=$3 common=log_path=$reports/$folder
  local -a start=()
  local last=$build/Testing/Temporary/LastTest.log
  export GTEST_FILTER GTEST_COLOR=no
  GTEST_FILTER="-$(left_out "not_under_$kind.txt")"
  export ASAN_OPTIONS="$common:suppressions=$settings/asan.supp:detect_leaks=$leaks:allocator_may_return_null=1:detect_stack_use_after_return=1"
  export ASAN_SYMBOLIZER_PATH=/usr/bin/llvm-symbolizer-16
  export UBSAN_OPTIONS="$common:print_stacktrace=1:halt_on_error=1"
  export LSAN_OPTIONS="$common:suppressions=$settings/lsan.supp:print_suppressions=0"
  export TSAN_OPTIONS="$common:suppressions=$settings/tsan.supp:ignore_noninstrumented_modules=1:second_deadlock_stack=1"
  TSAN_OPTIONS+=":history_size=4"
  if [[ $kind == tsan ]]; then
    export OMP_NUM_THREADS=1  # libgomp's own barriers are not seen
    # The shadow memory has fixed places, which a kernel that scatters widely may have given away.
    setarch -R true 2>/dev/null && start=(setarch -R)
  fi
  rm -f "$last"
  "${start[@]}" ctest --test-dir "$build" -L "$label" -R "$pattern" --output-on-failure --no-tests=ignore "${arguments[@]}" ||
    status=1
  cat "$last" >>"$log" 2>/dev/null || true
}

if $builds; then
  packages=()
  [[ $kind != asan ]] || packages=(clang-16 libclang-rt-16-dev llvm-16)
  scripts/setup.sh "${packages[@]}"
  cmake --preset "$kind" >/dev/null
  targets=("${folders[@]/#/tests/}")
  cmake --build "$build" -j "${JOBS:-$(nproc)}" --target "${targets[@]/%//all}"
fi

status=0 reports=$PWD/$build/reports
rm -rf "$reports"
mkdir -p "$build/logs" "$reports"
table=$'tests/|programs|tests passed|failed|reports|seconds\n'
for folder in "${folders[@]}"; do
  log=$build/logs/$folder.log begun=$SECONDS
  : >"$log"
  pattern="^($(tests_of "$folder" | sed 's/\./\\./g' | paste -sd'|'))\$"
  leaks=1
  [[ $folder != cli && $folder != comm ]] || leaks=0  # tests there start mpirun
  run_tests unit "$leaks" "$pattern"
  run_tests mpi 0 "$pattern"
  # A file may only say that memory for an allocation that a test wants refused was not there.
  found=$(grep -lsE 'ERROR: |WARNING: ThreadSanitizer|runtime error' "$reports/$folder".* | wc -l || true)
  [[ $found == 0 ]] || status=1
  table+="$folder|$(grep -cE '^Test (Passed|Failed)' "$log" || true)|$(grep -c '^\[       OK \]' "$log" || true)"
  table+="|$(grep -cE '^\[  FAILED  \] .*\([0-9]+ ms\)$' "$log" || true)|$found|$((SECONDS - begun))"$'\n'
done
echo
column -t -s'|' <<<"$table"
echo "sanitize: $kind: $([[ $status == 0 ]] && echo nothing found || echo "see $build/logs and $build/reports")"
exit "$status"
