#!/usr/bin/env bash
# The bundle trains on two ranks in a root file system without our packages and without a network, beside PyTorch's wheel.
# usage: test_bundle.sh BUILD TORCH [ROOT]   ROOT: a root file system that is there already, in place of one of this Debian.
# Ends with 77 (skipped) where no root file system can be entered.
set -euo pipefail
source_dir=$(readlink -f "$(dirname "$0")/../..")
build=$(readlink -f "$1") wheels=$(readlink -f "$(dirname "$2")")

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

if [[ $(id -u) != 0 ]] || ! unshare --mount --net --pid --fork true 2>/dev/null; then
  echo "skipped: needs root and namespaces"
  exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/test-bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=${3:-$work/root}
[[ -d $root ]] || "$(dirname "$0")/bare_root.sh" "$root"
[[ ! -e $root/usr/bin/mpirun ]] || fail "this is no bare root file system"

"$source_dir/scripts/bundle.sh" --build "$build" --unpack "$work/unpacked"
mkdir -p "$root/opt/wheels"
rm -rf "$root/opt/bundle"
mv "$work"/unpacked/lshdp-* "$root/opt/bundle"

# inside COMMAND: as a shell's line in the root file system, with the wheels at /opt/wheels and the loopback interface only.
inside() {
  unshare --mount --net --pid --fork sh -c '
    mount --bind "$2" "$1/opt/wheels" && mount -t proc proc "$1/proc" && mount -t sysfs sysfs "$1/sys" &&
      mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/dev/shm" && mount -t tmpfs tmpfs "$1/tmp" && ip link set lo up &&
      exec chroot "$1" /usr/bin/env -i PATH=/opt/bundle/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root OMP_NUM_THREADS=1 sh -c "cd /tmp; $3"
  ' sh "$root" "$wheels" "$1"
}
# shows PATTERN COMMAND: what the command says has such a line, however it ends.
shows() {
  local said
  said=$(inside "$2" 2>&1) || true
  grep -Eq "$1" <<<"$said" || fail "no '$1' from: $2"$'\n'"$said"
}

with="export LSHDP_TORCH_DIR=/opt/wheels/torch;"
shows '^LibTorch 2\..*: /opt/wheels/torch/lib/libtorch_cpu.so$' "$with lshdp --version"
shows '^Open MPI v.*: /opt/bundle/lib/libmpi.so.40$' "$with lshdp --version"
shows '^LibTorch .*: /opt/wheels/' "export PYTHONPATH=/opt/wheels; lshdp --version" # where Python would find it
shows '^lshdp: PyTorch.s wheel is not found: ' "lshdp --version"
shows '^lshdp: LSHDP_TORCH_DIR=/nowhere: there is no ' "LSHDP_TORCH_DIR=/nowhere lshdp --version"
shows "^lshdp: /tmp/torch is PyTorch 1.0.0, but this bundle needs " \
  "mkdir -p torch/lib; touch torch/lib/libtorch_cpu.so; echo \"__version__ = '1.0.0'\" >torch/version.py; LSHDP_TORCH_DIR=/tmp lshdp --version"
inside "$with
  echo '{\"type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, \"n_embd\": 32, \"n_positions\": 16, \"vocab_size\": 64}' >gpt.json
  lshdp data synthetic-tokens --count 2000 --vocab 64 --seed 1 --out gpt.h5 &&
  mpirun --allow-run-as-root --oversubscribe --bind-to none -np 2 \\
    lshdp train --model gpt.json --data gpt.h5 --batches 6,2 --steps 3 --results run --comm mpi &&
  test -s run/model.safetensors" || fail "two ranks do not train"
shows '^FAILED  no CUDA device can be used here' "$with /opt/bundle/scripts/gpu_check.sh --bundle /opt/bundle --part tests"
[[ ! -e $root/usr/bin/bash ]] || shows 'no option' "$with /opt/bundle/scripts/gpu_check.sh --wrong"
