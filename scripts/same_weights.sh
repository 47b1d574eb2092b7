#!/usr/bin/env bash
# Trains the same runs with two builds and compares their weights bit by bit. usage: scripts/same_weights.sh OLD NEW [STEPS]
# OLD and NEW are lshdp programs. A ViT and a GPT in every mode, over 3 ranks with batches 7,2,23, with micro-batches, clip,
# and other precisions; lsdp over 2 ranks, because 3 of one node add in any order. Prints a line for each; exit code 1 if any differ.
set -euo pipefail
old=$(realpath "$1") new=$(realpath "$2") steps=${3:-6}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

mpi=(mpirun --oversubscribe --bind-to none)
if [ "$(id -u)" -eq 0 ]; then mpi+=(--allow-run-as-root); fi
cat > vit.json <<'EOF'
{"type": "vit", "image_size": 16, "channels": 3, "patch_size": 4, "num_layers": 3, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128, "num_classes": 10}
EOF
# Its embedding is large enough to travel by rows in ddp.
cat > gpt.json <<'EOF'
{"type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 64, "n_positions": 32, "vocab_size": 17000}
EOF
"$old" data synthetic-images --count 200 --size 16 --channels 3 --classes 10 --out vit.h5 --log warn
"$old" data synthetic-tokens --count 9000 --vocab 17000 --out gpt.h5 --log warn

# train PROGRAM NAME MODEL OPTION..
train() {
  local program=$1 name=$2 model=$3
  shift 3
  local ranks=3
  case "$*" in *lsdp*) ranks=2 ;; esac
  OMP_NUM_THREADS=1 "${mpi[@]}" -np "$ranks" "$program" train --model "$model.json" --data "$model.h5" --steps "$steps" --threads 1 --log warn \
    --save "$name.safetensors" "$@" > "$name.log" 2>&1 || { cat "$name.log"; return 1; }
}

failed=0
# compare MODEL OPTION..
compare() {
  local model=$1
  shift
  train "$old" old "$model" "$@"
  train "$new" new "$model" "$@"
  if cmp -s old.safetensors new.safetensors; then
    echo "same     $model $*"
  else
    echo "DIFFERENT $model $*"
    failed=1
  fi
}

printf '{"version":1,"total":32,"ranks":[%s,%s,%s]}' '{"rank":0,"batch":7,"micro_batches":[4,3]}' \
  '{"rank":1,"batch":2,"micro_batches":[2]}' '{"rank":2,"batch":23,"micro_batches":[8,8,7]}' > cut.json
for model in vit gpt; do
  for mode in ddp fsdp "fsdp --offload"; do
    # shellcheck disable=SC2086
    for rest in "--batches 7,2,23" "--batches cut.json --clip 0.5" "--batches 7,2,23 --recompute"; do compare "$model" --mode $mode $rest; done
  done
  for rest in "" "--clip 0.5" "--resident 2 --recompute"; do
    # shellcheck disable=SC2086
    compare "$model" --mode lsdp --batches 7,25 $rest
  done
  for precision in bf16 fp16; do
    for mode in ddp fsdp; do compare "$model" --mode "$mode" --precision "$precision" --batches 7,2,23; done
    compare "$model" --mode lsdp --precision "$precision" --batches 7,25
  done
  compare "$model" --mode ddp --wire bf16 --batches 7,2,23
done
exit "$failed"
