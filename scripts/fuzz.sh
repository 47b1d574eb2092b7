#!/usr/bin/env bash
# Coverage-guided fuzzing, by clang's libFuzzer, of every reader of bytes from outside (tests/fuzz); a table at the end.
# usage: scripts/fuzz.sh [--no-build] [--keep] [SECONDS [READER...]]
#   SECONDS for each reader (default 60). --keep: puts a few of the inputs that reached more into tests/fuzz/corpus.
#   --no-build: runs what is built already.
# What a reader fails at is left in build-asan/fuzz/found: another exception than an lshdp::Error, a failed expectation, a
# report of a sanitizer, 5 s, or 2 GB. JOBS: processes that compile at a time (default: the number of cores).
set -euo pipefail
cd "$(dirname "$0")/.."

builds=true keep=false
while [[ ${1:-} == --* ]]; do
  case $1 in
    --help) sed -n '3,7p' "$0"; exit 0 ;;
    --no-build) builds=false ;;
    --keep) keep=true ;;
    *) echo "fuzz: unknown option $1; see --help" >&2; exit 2 ;;
  esac
  shift
done
seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz: give seconds, not $seconds; see --help" >&2; exit 2; }
wanted=("${@:2}")

if $builds; then
  scripts/setup.sh clang-16 libclang-rt-16-dev llvm-16
  cmake --preset asan >/dev/null
  cmake --build build-asan -j "${JOBS:-$(nproc)}" --target libfuzzer
fi

work=$PWD/build-asan/fuzz
mkdir -p "$work/found" "$work/corpus" "$work/logs"
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/lshdp-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# What the libraries themselves keep is not looked for: libFuzzer asks after each input.
export ASAN_OPTIONS=suppressions=$PWD/cmake/sanitizers/asan.supp:detect_leaks=0:allocator_may_return_null=0
export ASAN_SYMBOLIZER_PATH=/usr/bin/llvm-symbolizer-16 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export OMP_NUM_THREADS=1
kept_files=16 kept_bytes=8192

last() { grep -oE "$1" "$2" | tail -1 | grep -oE '[0-9]+$' || echo 0; }

# Some of the inputs that together reach all that was reached, spread over their sizes.
keep_inputs() {
  local program=$1 reader=$2 merged=$TMPDIR/merged corpus=tests/fuzz/corpus/$2 size total=0 step file
  rm -rf "$merged"
  mkdir -p "$merged" "$corpus"
  LSHDP_FUZZ_READER=$reader "$program" -merge=1 -rss_limit_mb=2048 -close_fd_mask=1 "$merged" "$work/corpus/$reader" 2>/dev/null || return 0
  find "$corpus" -type f ! -name 'found-*' -delete
  local -a files
  mapfile -t files < <(find "$merged" -type f -size -3 -printf '%s %p\n' | sort -n | cut -d' ' -f2)
  step=$(((${#files[@]} + kept_files - 1) / kept_files))
  for ((i = 0; i < ${#files[@]}; i += step)); do
    file=${files[i]} size=$(stat -c %s "${files[i]}")
    ((total + size <= kept_bytes)) || break
    total=$((total + size))
    cp "$file" "$corpus/$(basename "$file" | cut -c1-12)"
  done
}

failed=0
table=$'reader|executions|a second|edges|features|inputs kept|found\n'
for program in build-asan/tests/fuzz/libfuzzer_*; do
  [[ -x $program ]] || continue
  env -u LSHDP_FUZZ_READER "$program" seeds "$work/corpus" >/dev/null
  for reader in $(env -u LSHDP_FUZZ_READER "$program" list); do
    [[ ${#wanted[@]} -eq 0 || " ${wanted[*]} " == *" $reader "* ]] || continue
    log=$work/logs/$reader.log folders=("$work/corpus/$reader") outcome=nothing
    mkdir -p "${folders[0]}"
    [[ ! -d tests/fuzz/corpus/$reader ]] || folders+=("tests/fuzz/corpus/$reader")
    LSHDP_FUZZ_READER=$reader timeout $((seconds * 2 + 120)) "$program" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 \
      -close_fd_mask=1 -print_final_stats=1 -artifact_prefix="$work/found/$reader-" "${folders[@]}" >"$log" 2>&1 ||
      { failed=1 outcome=$(grep -oE "Test unit written to .*" "$log" | tail -1 | sed 's/.* //'); }
    table+="$reader|$(last 'stat::number_of_executed_units: +[0-9]+' "$log")|$(last 'stat::average_exec_per_sec: +[0-9]+' "$log")"
    table+="|$(last 'cov: [0-9]+' "$log")|$(last 'ft: [0-9]+' "$log")|$(find "${folders[0]}" -type f | wc -l)|${outcome:-see $log}"$'\n'
    $keep && keep_inputs "$program" "$reader"
  done
done
column -t -s'|' <<<"$table"
exit "$failed"
