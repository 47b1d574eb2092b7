#!/usr/bin/env bash
# Makes one archive that runs on other x86-64 Linux machines beside PyTorch's wheel, without root, network or packages.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/bundle.sh [--cuda] [--build DIR] [--unpack DIR]

Builds lshdp and the programs that check it on a device, and packs them with Open MPI, HDF5 and all else that they need but
glibc 2.34 or newer and a wheel of PyTorch: lshdp-VERSION-linux-x86_64.tar.gz in the build folder.

  --cuda        with CUDA and NCCL, in build-cuda: lshdp-VERSION-linux-x86_64-cuda.tar.gz
  --build DIR   a build folder that is configured already, in place of build or build-cuda
  --unpack DIR  also unpacks it into DIR
END
}

preset=release build='' unpack=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --cuda) preset=cuda ;;
    --build) build=${2:?--build: which folder?} && shift ;;
    --unpack) unpack=${2:?--unpack: into which folder?} && shift ;;
    *) echo "bundle: $1 is no option; see --help" >&2 && exit 2 ;;
  esac
  shift
done
limit=$((40 << 20)) # bytes of an archive

scripts/setup.sh
if [[ -z $build ]]; then
  build=$([[ $preset == cuda ]] && echo build-cuda || echo build)
  cmake --preset "$preset"
fi
cmake --build "$build" --target bundle_programs -j "$(nproc)"
(cd "$build" && cpack --config CPackConfig.cmake)
archive=$(ls -t "$build"/lshdp-*-linux-x86_64*.tar.gz | head -n 1)
size=$(stat -c %s "$archive")
echo "bundle: $archive ($((size / 1000000)) MB)"
if ((size > limit)); then
  echo "bundle: more than $((limit >> 20)) MiB" >&2
  exit 1
fi
if [[ -n $unpack ]]; then
  mkdir -p "$unpack"
  tar -xf "$archive" -C "$unpack"
fi
