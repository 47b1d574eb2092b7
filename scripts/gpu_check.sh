#!/usr/bin/env bash
# All that needs a GPU, in one go on a machine that has one and builds nothing: tests on the device, then speed beside PyTorch.
set -Eeuo pipefail
shopt -s inherit_errexit
here=$(dirname "$(readlink -f "$0")")

usage() {
  cat <<'END'
usage: scripts/gpu_check.sh [--bundle DIR | --build DIR] [--part tests|speed|all] [--out DIR] [--device cuda|cpu] [--quick]

Runs from an unpacked bundle (scripts/bundle.sh --cuda), or from a build with CUDA; builds nothing, needs no network.

  tests   at most 5 minutes: devices; the same mathematics on 1 and 2 ranks; checkpoint and resume in every mode; evaluation on
          the device and beside it; bf16 and fp16; NCCL with one rank; two ranks on one GPU with unequal memory; a rank on the
          GPU and one on the CPU; what max-batch says against training
  speed   at most 6 minutes: ViT-L/16 (batch 256) and GPT-2 XL (batch 8) in bf16: ddp, lsdp with nothing resident, lsdp auto;
          PyTorch's eager step, torch.compile, and FSDP2 with CPUOffloadPolicy on the same card: step, samples/s, MFU, peak memory;
          the host link's rate

  --bundle DIR  default: the bundle that this script lies in
  --build DIR   default otherwise: build-cuda
  --part PART   default: all, one after the other
  --out DIR     where logs, figures and PART/summary.txt go (default gpu-check); what it holds of the part is replaced
  --device cpu  a rehearsal without a GPU: the same steps on the CPU, each with five times as long; it says whether they work,
                and nothing about speed
  --quick       small models in the speed part

Every step has its own limit, and what does not fit into the part's time is not run. Each line of the summary is written when
it is known. Exit code 0 if nothing failed and all bounds were met, 1 otherwise, 2 for wrong usage.
END
}

refuse() {
  echo "gpu_check: $*" >&2
  exit 2
}

bundle='' build='' part=all out=gpu-check device=cuda quick=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --bundle | --build | --part | --out | --device)
      [[ $# -gt 1 ]] || refuse "$1 needs a value; see --help"
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --quick) quick=true ;;
    *) refuse "$1 is no option; see --help" ;;
  esac
  shift
done
[[ $part =~ ^(tests|speed|all)$ ]] || refuse "--part $part: use tests, speed or all"
[[ $device =~ ^(cuda|cpu)$ ]] || refuse "--device $device: use cuda or cpu"
[[ -z $bundle || -z $build ]] || refuse "--bundle and --build exclude each other"
if [[ -z $bundle && -z $build ]]; then
  if [[ -e $here/../etc/bundle.conf ]]; then bundle=$here/..; else build=$here/../build-cuda; fi
fi

# --- what is run -------------------------------------------------------------------------------------------------------
if [[ -n $bundle ]]; then
  [[ -x $bundle/bin/lshdp-run ]] || refuse "--bundle $bundle: there is no bin/lshdp-run"
  bundle=$(readlink -f "$bundle")
  programs=$bundle/bin mpirun=$bundle/bin/mpirun
  program() { echo "$programs/$1"; }
  baselines=$bundle/experiments/baselines
else
  [[ -x $build/lshdp ]] || refuse "--build $build: there is no program lshdp; build it (cmake --preset cuda), or give --bundle"
  build=$(readlink -f "$build")
  mpirun=mpirun
  program() { find "$build" -name _CPack_Packages -prune -o -type f -name "$1" -perm -u+x -print | head -n 1; }
  baselines=$here/../experiments/baselines
fi
lshdp=$(program lshdp)
figures=$here/gpu_figures.py
# A Python for figures, and one that has PyTorch for the programs beside.
python='' torch_python=''
for candidate in "${VIRTUAL_ENV:-}/bin/python" .venv/bin/python "${bundle:-$build}/../.venv/bin/python" python3; do
  command -v "$candidate" >/dev/null || continue
  [[ $candidate != */* ]] || candidate=$(realpath -s "$candidate") # steps work in folders of their own
  [[ -n $python ]] || ! "$candidate" -c 'import json, argparse, array' 2>/dev/null || python=$candidate
  [[ -n $torch_python ]] || ! "$candidate" -c 'import torch' 2>/dev/null || torch_python=$candidate
done

on_ranks() { # on_ranks COUNT COMMAND ..
  local count=$1
  shift
  "$mpirun" --allow-run-as-root --oversubscribe --bind-to none -np "$count" "$@"
}

precision=bf16 patience=1
if [[ $device == cpu ]]; then precision=fp32 patience=5; fi # many CPUs have no bf16, and all are slow

# --- how it is told ----------------------------------------------------------------------------------------------------
mkdir -p "$out"
out=$(readlink -f "$out")
work=$(mktemp -d "${TMPDIR:-/tmp}/gpu-check.XXXXXX") # data sets and weights: too large to keep
failed=0 begun=0 limit=0 summary=/dev/null sampler='' running=''
say() { echo "$*" | tee -a "$summary"; }
clean_up() {
  [[ -z $sampler ]] || kill "$sampler" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
cut_off() {
  say "CUT OFF after $((SECONDS - begun)) s of this part"
  [[ -z $running ]] || kill "$running" 2>/dev/null || true
  exit 1
}
trap cut_off TERM INT

# begin_part NAME SECONDS: a new folder and summary, and how long it may take.
begin_part() {
  part_out=$out/$1 begun=$SECONDS limit=$(($2 * patience))
  rm -rf "$part_out" && mkdir -p "$part_out"
  summary=$part_out/summary.txt
  say "gpu_check, part $1, $(date -u +%Y-%m-%dT%H:%M:%SZ), device $device$($quick && echo ', quick')"
}
end_part() { say "$((SECONDS - begun)) s in all; $([[ $failed == 0 ]] && echo 'all well' || echo 'NOT all well'); files in $part_out"; }

# step NAME SECONDS FUNCTION ..: runs it, with its output in NAME.log, for so long at most. Fails if it failed or was not run.
step() {
  local name=$1 allowed=$(($2 * patience)) left=$((limit - (SECONDS - begun))) started=$SECONDS code=0
  shift 2
  if ((left < 5)); then
    say "not run $name: the part's $limit s are over"
    failed=1
    return 1
  fi
  if ((allowed > left)); then allowed=$left; fi
  # What runs is a shell of its own, so that all of it can be ended.
  timeout -k 5 "$allowed" bash -Eeuo pipefail -c '"$@"' step "$@" >"$part_out/$name.log" 2>&1 &
  running=$!
  wait "$running" || code=$? # so that a signal to this script is heard at once
  running=''
  if [[ $code == 0 ]]; then
    say "ok      $name ($((SECONDS - started)) s)$(sed -n 's/^NOTE /: /p' "$part_out/$name.log" | tail -n 1)"
    return 0
  fi
  failed=1
  say "FAILED  $name ($((SECONDS - started)) s, $([[ $code == 124 || $code == 137 ]] && echo "longer than $allowed s" || echo "exit code $code"))"
  tail -n 15 "$part_out/$name.log" | sed 's/^/        | /' | tee -a "$summary"
  return 1
}
# bound NAME VALUE OPERATOR LIMIT: a figure and what is required of it. An empty value was not measured.
bound() {
  if [[ -z $2 ]]; then
    say "UNKNOWN $1 (required: $3 $4)"
    failed=1
  elif "$python" -c "import sys; sys.exit(not ($2 $3 $4))"; then
    say "met     $1: $2 (required: $3 $4)"
  else
    say "MISSED  $1: $2 (required: $3 $4)"
    failed=1
  fi
}

# --- tests -------------------------------------------------------------------------------------------------------------
train() { # train COUNT NAME OPTION ..: a run of the small GPT in $work/NAME
  local count=$1 name=$2
  shift 2
  on_ranks "$count" "$lshdp" train --model "$work/gpt.json" --data "$work/gpt.h5" --lr 1e-3 --seed 1 --results "$work/$name" "$@"
}
same_weights() { "$python" "$figures" same-weights "$work/$1/model.safetensors" "$work/$2/model.safetensors" "$3"; }
make_test_data() {
  "$python" "$figures" models "$work" --small
  "$lshdp" data synthetic-tokens --count 60000 --vocab 512 --seed 1 --out "$work/gpt.h5"
}
device_tests() { "$(program test_devices)"; }
same_mathematics() {
  OMP_NUM_THREADS=1 on_ranks "$1" "$(program test_same_mathematics)" --gtest_filter="$2"
}
resume_in() { # resume_in MODE OPTION ..: 3 steps and 3 more are 6
  local mode=$1
  shift
  train 1 "$mode-whole" --mode "$mode" --device "$device" --batches 24 --steps 6 "$@"
  train 1 "$mode-half" --mode "$mode" --device "$device" --batches 24 --steps 3 --checkpoint-every 3 "$@"
  train 1 "$mode-resumed" --mode "$mode" --device "$device" --batches 24 --steps 6 --resume "$work/$mode-half" "$@"
  same_weights "$mode-whole" "$mode-resumed" 1e-5
}
evaluation() {
  train 1 evaluated --mode ddp --device "$device" --batches 24 --steps 6
  "$lshdp" evaluate --init "$work/evaluated" --data "$work/gpt.h5" --device "$device" | tee "$work/loss-there"
  "$lshdp" evaluate --init "$work/evaluated" --data "$work/gpt.h5" --device cpu | tee "$work/loss-here"
  "$python" "$figures" same-loss "$work/loss-there" "$work/loss-here" 1e-4
}
in_precision() { # in_precision TYPE
  local length="--batches 24 --steps 30"
  if [[ $device == cpu ]]; then length="--batches 2 --steps 12"; fi
  train 1 "in-$1" --mode ddp --device "$device" $length --precision "$1"
  train 1 "in-$1-lsdp" --mode lsdp --resident 0 --device "$device" $length --precision "$1"
  "$python" "$figures" learns "$work/in-$1/metrics.jsonl"
  "$python" "$figures" learns "$work/in-$1-lsdp/metrics.jsonl"
}
over_nccl() {
  [[ $device == cuda ]] || { echo "NOTE left out on a CPU" && return; }
  train 1 nccl --mode ddp --device cuda --comm nccl --batches 24 --steps 6
  train 1 no-nccl --mode ddp --device cuda --comm mpi --batches 24 --steps 6
  same_weights nccl no-nccl 1e-5
}
two_on_one() {
  train 1 one --mode ddp --device "$device" --batches 24 --steps 6
  train 2 two --mode ddp --device "$device" --batches 8,16 --steps 6 --memory 1GiB,2GiB
  train 2 two-lsdp --mode lsdp --resident 0 --device "$device" --batches 8,16 --steps 6 --memory 1GiB,2GiB
  same_weights one two 1e-4
  same_weights one two-lsdp 1e-4
}
device_and_host() {
  train 1 alone --mode ddp --device "$device" --batches 24 --steps 6
  train 2 mixed --mode ddp --device "$device,cpu" --batches 20,4 --steps 6
  train 2 mixed-lsdp --mode lsdp --device "$device,cpu" --batches 20,4 --steps 6
  same_weights alone mixed 1e-4
  same_weights alone mixed-lsdp 1e-4
}
max_batch() { # max_batch MODE: the largest batch trains, and half as much again does not
  local memory=1GiB batch mode=$1
  on_ranks 1 "$lshdp" max-batch --model "$work/gpt.json" --mode "$mode" --device "$device" --memory $memory --out "$work/max-$mode.json"
  batch=$("$python" -c "import json, sys; print(json.load(open(sys.argv[1]))['ranks'][0]['max_batch'])" "$work/max-$mode.json")
  train 1 "largest-$mode" --mode "$mode" --device "$device" --memory $memory --batches "$batch" --steps 5
  if train 1 "larger-$mode" --mode "$mode" --device "$device" --memory $memory --batches $((batch * 3 / 2)) --steps 2 --max-accumulation 1; then
    echo "NOTE $batch fits, and so does $((batch * 3 / 2)): max-batch says too little"
    return 1
  fi
  echo "NOTE $batch fits, $((batch * 3 / 2)) does not"
}

run_tests() {
  local suite='Cuda/*' mode
  [[ $device == cuda ]] || suite='ApartClip/*'
  step devices 60 device_tests || true
  step same-mathematics-1 60 same_mathematics 1 "$suite" || true
  step same-mathematics-2 90 same_mathematics 2 "$suite" || true
  step data 30 make_test_data || return 0
  for mode in ddp lsdp fsdp; do
    step "resume-$mode" 60 resume_in "$mode" || true
  done
  step evaluation 40 evaluation || true
  step bf16 40 in_precision bf16 || true
  step fp16 40 in_precision fp16 || true
  step nccl 40 over_nccl || true
  step two-on-one-device 60 two_on_one || true
  step device-and-host 60 device_and_host || true
  for mode in ddp lsdp; do
    step "max-batch-$mode" 60 max_batch "$mode" || true
  done
}

# --- speed -------------------------------------------------------------------------------------------------------------
make_speed_data() {
  local small=''
  if $quick; then small=--small; fi
  "$python" "$figures" models "$work" $small
  eval "$("$python" "$figures" data-of "$work")" # size, classes, vocabulary
  "$lshdp" data synthetic-images --count 512 --channels 3 --size "$size" --classes "$classes" --seed 1 --out "$work/vit.h5"
  "$lshdp" data synthetic-tokens --count 200000 --vocab "$vocabulary" --seed 1 --out "$work/gpt.h5"
}
# Ours prints its figures at the end and keeps no weights.
ours() { # ours KIND BATCH STEPS OPTION ..
  local kind=$1 batch=$2 steps=$3
  shift 3
  on_ranks 1 "$lshdp" train --model "$work/$kind.json" --data "$work/$kind.h5" --batches "$batch" --steps "$steps" --seed 1 \
    --precision "$precision" --device "$device" "$@"
}
theirs() { # theirs NAME KIND BATCH STEPS OPTION ..
  local name=$1 kind=$2 batch=$3 steps=$4
  shift 4
  (cd "$baselines" && "$torch_python" train.py --model "$work/$kind.json" --batches "$batch" --steps "$steps" --precision "$precision" \
    --device "$device" --threads "$(nproc)" --out "$part_out/$name.json" "$@")
}
host_link() { "$(program host_link)" --benchmark_out="$part_out/host-link.json" --benchmark_out_format=json; }

# measured NAME SECONDS FUNCTION ..: a step, and the device's memory in use meanwhile, every 100 ms.
measured() {
  local name=$1
  if command -v nvidia-smi >/dev/null && [[ $device == cuda ]]; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 100 >"$part_out/$name.memory" 2>/dev/null &
    sampler=$!
  fi
  step "$@" || true
  if [[ -n $sampler ]]; then
    kill "$sampler" 2>/dev/null || true
    wait "$sampler" 2>/dev/null || true
    sampler=''
  fi
}
# with_torch NAME ..: as measured(), where there is a Python with PyTorch.
with_torch() {
  if [[ -n $torch_python ]]; then
    measured "$@"
  else
    say "not run $1: no Python here can import torch"
    failed=1
  fi
}
seconds_of() { "$python" "$figures" seconds "$part_out" "$1"; }
ratio() { # ratio A B: seconds of a step of A over those of B; nothing where one is missing
  local a b
  a=$(seconds_of "$1") b=$(seconds_of "$2")
  [[ -z $a || -z $b ]] || "$python" -c "print(round($a / $b, 3))"
}

run_speed() {
  local kind vit_batch=256 gpt_batch=8 vit_steps=12 gpt_steps=8
  if $quick; then vit_batch=16 gpt_batch=4 vit_steps=4 gpt_steps=4; fi
  step data 40 make_speed_data || return 0
  for kind in vit gpt; do
    local batch=${kind}_batch steps=${kind}_steps
    local what=("$kind" "${!batch}" "${!steps}")
    measured "$kind-ddp" 60 ours "${what[@]}" --mode ddp
    with_torch "$kind-eager" 60 theirs "$kind-eager" "${what[@]}" --mode plain
    measured "$kind-lsdp" 60 ours "${what[@]}" --mode lsdp --resident 0
    with_torch "$kind-fsdp2" 75 theirs "$kind-fsdp2" "${what[@]}" --mode fsdp2 --offload
  done
  step host-link 20 host_link || true
  for kind in vit gpt; do
    local batch=${kind}_batch steps=${kind}_steps
    local what=("$kind" "${!batch}" "${!steps}")
    measured "$kind-lsdp-auto" 60 ours "${what[@]}" --mode lsdp --resident auto
    if [[ $device == cpu ]]; then continue; fi # compiling for a CPU takes longer than all else
    with_torch "$kind-compile" 75 theirs "$kind-compile" "${what[@]}" --mode plain --compile
  done
  "$python" "$figures" table "$part_out" "$work" $vit_batch $gpt_batch | tee -a "$summary"
  bound "vit: lsdp streaming's step over ddp's" "$(ratio vit-lsdp vit-ddp)" "<=" 1.2
  bound "gpt: lsdp streaming's step over ddp's" "$(ratio gpt-lsdp gpt-ddp)" "<=" 1.6
  for kind in vit gpt; do
    bound "$kind: ddp's samples/s over PyTorch eager's" "$(ratio $kind-eager $kind-ddp)" ">=" 0.95
    bound "$kind: ddp's peak memory over PyTorch eager's" "$("$python" "$figures" memory-ratio "$part_out" $kind-ddp $kind-eager)" "<=" 1
    bound "$kind: lsdp streaming's samples/s over FSDP2's with CPU offload" "$(ratio $kind-fsdp2 $kind-lsdp)" ">=" 1.5
  done
}

# Steps run in shells of their own.
export -f on_ranks train same_weights make_test_data device_tests same_mathematics resume_in evaluation in_precision over_nccl two_on_one \
  device_and_host max_batch make_speed_data ours theirs host_link program
export bundle build programs mpirun lshdp figures python torch_python device precision quick work baselines part_out

# --- the parts ---------------------------------------------------------------------------------------------------------
# ready PART SECONDS: begins it, if there is a device.
ready() {
  begin_part "$@"
  "$lshdp" --version 2>&1 | tee -a "$summary" || true
  [[ $device == cpu ]] && return
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee -a "$summary" || true
  if ! grep -q 'cuda:0' "$summary"; then
    say "FAILED  no CUDA device can be used here: a GPU, its driver, and a bundle or build with CUDA are needed"
    exit 1
  fi
}
need_python() {
  [[ -n $python ]] && return
  say "FAILED  no Python here has the modules json, argparse and array, which figures are made with"
  exit 1
}

for each in tests speed; do
  [[ $part == all || $part == "$each" ]] || continue
  if [[ $each == tests ]]; then ready tests 300; else ready speed 360; fi
  need_python
  "run_$each"
  end_part
done
exit $failed
