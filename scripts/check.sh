#!/usr/bin/env bash
# Checks the sources: format, first lines, direction of includes; then that each header compiles alone, and clang-tidy.
# usage: scripts/check.sh [--quick | --all] [BASE]
#   --quick: format, first lines and includes only. --all: clang-tidy on every file, not only on those changed since BASE (main).
set -euo pipefail
cd "$(dirname "$0")/.."

quick=false all=false base=main
for argument in "$@"; do
  case $argument in
    --quick) quick=true ;;
    --all) all=true ;;
    --help) sed -n '2,4p' "$0"; exit 0 ;;
    -*) echo "check: unknown option $argument; see --help" >&2; exit 2 ;;
    *) base=$argument ;;
  esac
done

check_headers() {
  local flags=(-std=c++20 -fsyntax-only -Wall -Wextra -Werror -Iinclude -I/usr/include/hdf5/serial -x c++)
  local torch
  torch=$(echo .venv/lib/python3.*/site-packages/torch)
  flags+=(-idirafter "$torch/include" -idirafter "$torch/include/torch/csrc/api/include")
  read -ra mpi < <(mpicxx --showme:compile)
  # Through standard input, because #pragma once in the main file is a warning.
  git ls-files 'include/*.h' | sed 's,^include/,,' |
    xargs -P 2 -I{} sh -c 'header=$1; shift; printf "#include \"%s\"\n" "$header" | g++ "$@" - || exit 255' sh {} "${flags[@]}" "${mpi[@]}"
}

check_tidy() {
  # A folder of its own without precompiled headers, because clang cannot read GCC's.
  cmake -S . -B build-tidy -G Ninja -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
  local files
  if $all; then
    files=$(git ls-files 'src/*.cpp' 'tests/*.cpp' 'benchmarks/*.cpp')
  else
    files=$(git diff --name-only --diff-filter=d "$base" -- 'src/*.cpp' 'tests/*.cpp' 'benchmarks/*.cpp')
  fi
  echo "$files" | grep . |
    xargs -r -P 2 -n 1 clang-tidy -p build-tidy --quiet --extra-arg=-include --extra-arg="$PWD/cmake/pch.h" \
      --extra-arg=-Wno-unknown-warning-option || return 1
}

if $quick; then scripts/setup.sh clang-format; else scripts/setup.sh clang-format clang-tidy; fi
echo "check: format"
git ls-files '*.cpp' '*.h' | xargs -r clang-format --dry-run -Werror
echo "check: first lines and includes"
.venv/bin/python scripts/check_sources.py
$quick && exit 0
echo "check: each header alone"
check_headers
echo "check: clang-tidy"
check_tidy
