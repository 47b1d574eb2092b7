#!/usr/bin/env bash
# All that needs a GPU, in one go on a machine that has one: tests on the device, then short trainings; prints a summary.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/gpu_check.sh [--build-only] [--quick] [--steps S]

Builds with CUDA in build-cuda, then (made for 9 minutes on one GPU, which nobody has measured yet):
  tests       of devices, and of the same mathematics on them, 1 to 3 ranks on the GPU
  streaming   ViT-L/16 and GPT-2 XL in bf16: a step of lsdp with nothing resident beside one of ddp (at most 1.2 times),
              the host link's rate in it beside that of plain copies (at least 0.8)
  sharing     two ranks on the GPU with budgets of 1:2; and one rank on the GPU beside one on the CPU
and writes runs/gpu-check/summary.txt. Exit code 0 if all that is required was met.

  --build-only   build, run nothing
  --quick        small models in place of the large ones
  --steps S      steps of each training (default 12)

Needs the CUDA toolkit 13, a driver, and what scripts/setup.sh --cuda installs.
END
}

build_only=false quick=false steps=12
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --build-only) build_only=true ;;
    --quick) quick=true ;;
    --steps) steps=${2:?} && shift ;;
    *) echo "gpu_check: $1 is no option; see --help" >&2 && exit 2 ;;
  esac
  shift
done

python=.venv/bin/python
[[ -x $python ]] || python=python3
cmake --preset cuda
cmake --build build-cuda --target lshdp test_devices test_same_mathematics host_link -j "$(nproc)"
$build_only && exit 0

out=runs/gpu-check
rm -rf $out && mkdir -p $out
summary=$out/summary.txt
failed=0
began=$SECONDS
lshdp=$PWD/build-cuda/lshdp
on_ranks=(mpirun --allow-run-as-root --oversubscribe --bind-to none -np)  # a program for timeout, so no function
say() { echo "$*" | tee -a $summary; }
# verdict NAME COMMAND..: whether it ended well; its output is in NAME.log.
verdict() {
  local name=$1 begun=$SECONDS
  shift
  if timeout 240 "$@" >"$out/$name.log" 2>&1; then
    say "ok      $name ($((SECONDS - begun)) s)"
  else
    say "FAILED  $name ($((SECONDS - begun)) s): see $out/$name.log"
    failed=1
    return 1
  fi
}
# figure FILE EXPRESSION: of the JSON file, as `j`.
figure() { "$python" -c "import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))" "$1" "$2"; }
# required NAME VALUE OPERATOR BOUND
required() {
  if "$python" -c "import sys; sys.exit(not ($2 $3 $4))"; then say "met     $1: $2 (required: $3 $4)"; else
    say "MISSED  $1: $2 (required: $3 $4)"
    failed=1
  fi
}

"$lshdp" --version | tee -a $summary
if ! grep -q cuda:0 $summary; then
  say "FAILED  no CUDA device can be used here"
  exit 1
fi

# --- tests -------------------------------------------------------------------------------------------------------------
verdict devices build-cuda/tests/core_memory/test_devices || true
for n in 1 2 3; do
  OMP_NUM_THREADS=1 verdict "same-mathematics-$n" "${on_ranks[@]}" $n build-cuda/tests/parallel/test_same_mathematics \
    --gtest_filter='Cuda/*' || true
done

# --- streaming ---------------------------------------------------------------------------------------------------------
if $quick; then
  cat >$out/vit.json <<'JSON'
{"type": "vit", "image_size": 64, "channels": 3, "patch_size": 8, "num_layers": 6, "num_heads": 6, "hidden_dim": 384,
 "mlp_dim": 1536, "num_classes": 10}
JSON
  echo '{"type": "gpt2", "n_layer": 6, "n_head": 6, "n_embd": 384, "n_positions": 256, "vocab_size": 8192}' >$out/gpt.json
  vit=$out/vit.json gpt=$out/gpt.json size=64 classes=10 vocabulary=8192 vit_batch=64 gpt_batch=16
else
  vit=vit_l_16 gpt=gpt2-xl size=224 classes=1000 vocabulary=50257 vit_batch=256 gpt_batch=16
fi
model() { if [[ $1 == vit ]]; then echo "$vit"; else echo "$gpt"; fi; }
"$lshdp" data synthetic-images --count 1024 --channels 3 --size $size --classes $classes --seed 1 --out $out/vit.h5 >$out/data.log
"$lshdp" data synthetic-tokens --count 400000 --vocab $vocabulary --seed 1 --out $out/gpt.h5 >>$out/data.log

# trained NAME RANKS MODEL BATCHES OPTION..: $steps steps; its step's seconds are in NAME/summary.json.
trained() {
  local name=$1 count=$2 kind=$3 batches=$4
  shift 4
  verdict "$name" "${on_ranks[@]}" "$count" "$lshdp" train --model "$(model "$kind")" --data "$out/$kind.h5" --batches "$batches" --steps "$steps" \
    --seed 1 --trace --results "$out/$name" --overwrite "$@"
}
step_of() { figure "$out/$1/summary.json" "j['step_seconds']['median']"; }

for kind in vit gpt; do
  batch=$([[ $kind == vit ]] && echo $vit_batch || echo $gpt_batch)
  if trained "$kind-ddp" 1 $kind "$batch" --precision bf16 --mode ddp &&
    trained "$kind-lsdp" 1 $kind "$batch" --precision bf16 --mode lsdp --resident 0; then
    required "$kind: step of lsdp streaming over ddp's ($(step_of $kind-ddp) s)" "$(step_of $kind-lsdp) / $(step_of $kind-ddp)" "<=" 1.2
  fi
done
if verdict profile "${on_ranks[@]}" 1 "$lshdp" profile --model "$(model vit)" --mode lsdp --resident 0 --precision bf16 --total "$vit_batch" \
  --curve-seconds 20 --out $out/profile.json; then
  link=$(figure $out/profile.json "j['ranks'][0]['host_link_bytes_per_second']")
  if verdict host-link build-cuda/benchmarks/host_link --benchmark_filter=in --benchmark_out=$out/host-link.json; then
    plain=$(figure $out/host-link.json "max(b['bytes_per_second'] for b in j['benchmarks'])")
    required "host link in lsdp, bytes a second, over that of plain copies" "$link / $plain" ">=" 0.8
  fi
fi

# --- sharing -----------------------------------------------------------------------------------------------------------
trained two-on-one-gpu 2 vit $((vit_batch / 4)),$((vit_batch / 2)) --precision bf16 --mode ddp --device cuda --memory 16GiB,32GiB || true
steps=3 trained gpu-and-cpu 2 vit $((vit_batch / 2)),1 --mode ddp --device cuda,cpu || true

say "$((SECONDS - began)) s in all; files in $out"
exit $failed
