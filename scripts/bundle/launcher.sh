#!/bin/sh
# Runs the bundle's program of the name this is called by: finds PyTorch's wheel, and tells Open MPI where it lies.
set -eu
name=$(basename "$0")
here=$(dirname "$(dirname "$(readlink -f "$0")")")
. "$here/etc/bundle.conf" # bundle_torch, bundle_cuda, bundle_program

refuse() {
  echo "$name: $*" >&2
  exit 2
}

# torch_in FOLDER: the folder `torch` of a wheel that is FOLDER, or lies in FOLDER as site-packages or a virtual environment.
torch_in() {
  for place in "$1" "$1/torch" "$1"/lib/python3*/site-packages/torch "$1"/lib64/python3*/site-packages/torch; do
    if [ -e "$place/lib/libtorch_cpu.so" ]; then
      readlink -f "$place"
      return
    fi
  done
  return 1
}

# The one that Python would import; the module itself is not run.
torch_of() {
  "$1" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null
}

find_torch() {
  if [ -n "${LSHDP_TORCH_DIR:-}" ]; then
    torch_in "$LSHDP_TORCH_DIR" || refuse "LSHDP_TORCH_DIR=$LSHDP_TORCH_DIR: there is no lib/libtorch_cpu.so"
    return
  fi
  for place in "${VIRTUAL_ENV:-}" .venv "$here" "$here/.venv" "$here/.." "$here/../.venv"; do
    [ -n "$place" ] && torch_in "$place" && return
  done
  for python in python3 python; do
    place=$(torch_of "$python") && torch_in "$place" && return
  done
  refuse "PyTorch's wheel is not found: pip install torch==$bundle_torch.*, or set LSHDP_TORCH_DIR to its folder torch"
}

torch=$(find_torch)
version=$(sed -n "s/^__version__ = '\(.*\)'.*/\1/p" "$torch/version.py" 2>/dev/null || true)
case $version in
  "$bundle_torch".*) ;;
  *) refuse "$torch is PyTorch ${version:-of no known version}, but this bundle needs $bundle_torch" ;;
esac
if [ "$bundle_cuda" = yes ] && [ ! -e "$torch/lib/libtorch_cuda.so" ]; then
  refuse "$torch is a wheel without CUDA, but this is a bundle with it"
fi

# The bundle's own libraries find each other by themselves.
path=$torch/lib
for folder in "$torch"/../nvidia/*/lib; do
  [ -d "$folder" ] && path=$path:$folder
done
export LD_LIBRARY_PATH="$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
if ! "$here/libexec/newest_symbols" 2>/dev/null; then
  export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:$here/lib/older-systems"
fi
export LSHDP_TORCH_DIR="$torch" PATH="$here/bin:$PATH"
export OPAL_PREFIX="$here" OPAL_BINDIR="$here/bin" OPAL_LIBDIR="$here/lib" OPAL_PKGLIBDIR="$here/lib/openmpi"
export OPAL_PKGDATADIR="$here/share/openmpi" OPAL_SYSCONFDIR="$here/etc/openmpi"
export PMIX_PREFIX="$here" PMIX_LIBDIR="$here/lib" PMIX_PKGLIBDIR="$here/lib/pmix" PMIX_PKGDATADIR="$here/share/pmix"

# Without a way to start programs on other hosts, Open MPI's rsh launcher ends the run, also one that needs none.
command -v ssh >/dev/null || command -v rsh >/dev/null || export OMPI_MCA_plm="${OMPI_MCA_plm:-^rsh}"

case $name in
  mpirun) exec "$here/libexec/mpirun" --prefix "$here" "$@" ;;
  lshdp-run)
    [ $# -gt 0 ] || refuse "name a program to run with the bundle's libraries and PyTorch's"
    exec "$@"
    ;;
  *) exec "$here/libexec/$name" "$@" ;;
esac
