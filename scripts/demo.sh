#!/usr/bin/env bash
# Sets up, builds and runs the main job on real data: a ViT on Fashion-MNIST over 4 ranks of unequal speed on this machine,
# first with equal batches, then with the batches that lshdp measures and solves for; ends with a table and a picture.
# usage: scripts/demo.sh [--quick] [FOLDER]     --quick: a few steps, to see that everything works. FOLDER: default runs/demo
set -euo pipefail
cd "$(dirname "$0")/.."

equal_steps=40 steps=850 total=128 folder=runs/demo picture=results/demo.png quick=false
for argument in "$@"; do
  case $argument in
    --quick) quick=true equal_steps=12 steps=24 ;;
    -h | --help) sed -n '2,4p' "$0"; exit 0 ;;
    -*) echo "demo: unknown option $argument; see --help" >&2; exit 2 ;;
    *) folder=$argument ;;
  esac
done
# A smoke run must not replace the picture of a real one.
if $quick; then picture=$folder/demo.png; fi

scripts/setup.sh
cmake --preset release
cmake --build --preset release --target lshdp -j "$(nproc)"

begun=$SECONDS
for run in "$folder/equal" "$folder/auto"; do  # of an earlier demo; nothing else in the folder is this script's
  if [[ -e $run && ! -f $run/metrics.jsonl ]]; then
    echo "demo: $run is no run of an earlier demo; choose another folder" >&2
    exit 2
  fi
  rm -rf "$run"
done
mkdir -p "$folder" "$(dirname "$picture")"
lshdp=build/lshdp
images=/usr/share/datasets/fashion-mnist
cores=$(nproc)  # before OMP_NUM_THREADS is set: nproc heeds it
# As root, and with more ranks than cores, Open MPI wants to be asked twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
on_ranks=(mpirun -np 4 --oversubscribe --bind-to none)

"$lshdp" data idx --images $images/train-images-idx3-ubyte.gz --labels $images/train-labels-idx1-ubyte.gz --out "$folder/train.h5"
"$lshdp" data idx --images $images/t10k-images-idx3-ubyte.gz --labels $images/t10k-labels-idx1-ubyte.gz --out "$folder/test.h5"
cat >"$folder/vit.json" <<'JSON'
{"type": "vit", "image_size": 28, "channels": 1, "patch_size": 7, "num_layers": 4, "num_heads": 4,
 "hidden_dim": 64, "mlp_dim": 128, "num_classes": 10}
JSON

# 1:1:0.5:0.25, together 90 % of this machine's cores, none above a core of its own.
speeds=$(awk -v cores="$cores" 'BEGIN { s = 0.9 * cores / 2.75; if (s > 1) s = 1; printf "%.4f,%.4f,%.4f,%.4f", s, s, s / 2, s / 4 }')
run=(--model "$folder/vit.json" --mode ddp --data "$folder/train.h5" --total "$total" --threads 1 --emulate-speed "$speeds"
  --lr 2e-3 --weight-decay 0.05 --schedule cosine --warmup 20 --seed 1)

echo "demo: equal batches on 4 ranks of speeds $speeds"
"${on_ranks[@]}" "$lshdp" train "${run[@]}" --batches equal --steps "$equal_steps" --results "$folder/equal" --overwrite --log warn
echo "demo: measure, solve and train"
# Of the log's lines, one a step, every fiftieth is enough here.
"${on_ranks[@]}" "$lshdp" train "${run[@]}" --batches auto --steps "$steps" --eval-data "$folder/test.h5" --results "$folder/auto" --overwrite 2>&1 |
  awk '!/ step +[0-9]+\/[0-9]+ / || count++ % 50 == 0 { print; fflush() }'

"$lshdp" report "$folder/equal" "$folder/auto" --out "$picture" >/dev/null
.venv/bin/python scripts/demo_table.py "$folder" "$picture"
echo "the demo took $((SECONDS - begun)) s after the build"
