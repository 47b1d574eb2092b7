#!/usr/bin/env bash
# Installs what is missing on Debian 12: apt packages, and pinned Python wheels in .venv. A second run changes nothing.
# usage: scripts/setup.sh [--baselines | --cuda] [FURTHER_APT_PACKAGE...]
#   --baselines: also what the PyTorch programs of experiments/baselines import (2 GB to download)
#   --cuda:      the same libraries, for builds with CUDA
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  -h | --help) sed -n '2,5p' "$0"; exit 0 ;;
  --baselines | --cuda) ;;
  -*) echo "setup: unknown option $1; see --help" >&2; exit 2 ;;
esac
baselines=false
if [[ ${1:-} == --baselines || ${1:-} == --cuda ]]; then
  baselines=true
  shift
fi

packages=(
  build-essential cmake ninja-build ccache
  libopenmpi-dev openmpi-bin libhdf5-dev libcxxopts-dev nlohmann-json3-dev libspdlog-dev libfmt-dev
  libdnnl-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libpcre2-dev libxxhash-dev libyaml-cpp-dev zlib1g-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  patchelf binutils graphviz
  python3 python3-venv dataset-fashion-mnist
  "$@"
)

# The packages of "$@" that dpkg does not know as installed.
missing_packages() {
  local package
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || echo "$package"
  done
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "${packages[@]}")
  [[ ${#missing[@]} -eq 0 ]] && return
  local as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
      echo "setup: packages are missing and this is neither root nor is there sudo; have root run:" >&2
      echo "apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# The first Python that the wheels are made for and that can make virtual environments.
suitable_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  echo "setup: no Python 3.11 to 3.13 with the venv module found" >&2
  exit 1
}

# install_wheels LIST STAMP WHAT: installs the list, unless the stamp says that just this list is installed.
install_wheels() {
  local list=$1 stamp=.venv/$2 wanted python
  wanted=$(sha256sum "$list" | cut -d' ' -f1)
  [[ -f $stamp && "$(cat "$stamp")" == "$wanted" ]] && return
  python=$(suitable_python)
  echo "setup: installing Python wheels into .venv ($3)"
  [[ -x .venv/bin/python ]] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r "$list"
  echo "$wanted" >"$stamp"
}

install_packages
install_wheels scripts/requirements.txt requirements.sha256 "LibTorch is about 0.5 GB to download"
if $baselines; then
  install_wheels experiments/baselines/requirements.txt baselines.sha256 "PyTorch's CUDA libraries: about 2 GB to download"
fi
