#!/usr/bin/env bash
# Halves a node's CPU share in mid-run and gives it back: how soon a rebalanced run is as fast as a fresh plan.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: experiments/rebalance.sh [OPTION..] [STAGE..]

On an emulated cluster of 4 nodes (50, 50, 33 and 55 % of a core, 1 Gb/s), node 0 falls to half its share and gets it back.
Stages, all by default; a stage whose result is there is not run again:
  plan         profile and plan for the full shares, and a fresh plan for the halved share
  fresh        a short run with the fresh plan, at the halved share
  rebalanced   the run with --rebalance 10
  fixed        the same with --rebalance off
  draw         OUT/rebalance.png, OUT/rebalance.md

  --layout L     data (batches are split anew; default), or pipeline (blocks move between stages)
  --model FILE   model description (default: a ViT of 1.8 million parameters)
  --total B      samples a step (default 64)
  --steps S      steps of a run; the share falls after a third, returns after two thirds (default 120)
  --runs DIR     where runs are kept (default runs/rebalance, with pipeline runs/rebalance_pipeline)
  --out DIR      where table and picture go (default results/rebalance, with pipeline results/rebalance_pipeline)
  --name NAME    of the cluster, see scripts/cluster.sh (default reb)

Needs root, and a build in build/.
END
}

shares=50,50,33,55 full=50 halved=25
layout=data model="" total=64 steps=120 runs="" out="" name=reb stages=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --layout) layout=${2:?} && shift ;;
    --model) model=${2:?} && shift ;;
    --total) total=${2:?} && shift ;;
    --steps) steps=${2:?} && shift ;;
    --runs) runs=${2:?} && shift ;;
    --out) out=${2:?} && shift ;;
    --name) name=${2:?} && shift ;;
    plan | fresh | rebalanced | fixed | draw) stages+=("$1") ;;
    *) echo "rebalance: $1 is no option or stage; see --help" >&2 && exit 2 ;;
  esac
  shift
done
case $layout in
  data) kind=batches folder=rebalance ;;
  pipeline) kind=layout folder=rebalance_pipeline ;;
  *) echo "rebalance: --layout: $layout is neither data nor pipeline" >&2 && exit 2 ;;
esac
runs=${runs:-runs/$folder} out=${out:-results/$folder}
[[ ${#stages[@]} -gt 0 ]] || stages=(plan fresh rebalanced fixed draw)
[[ -x build/lshdp ]] || { echo "rebalance: build/lshdp is missing: cmake --preset release && cmake --build --preset release" >&2 && exit 1; }

mkdir -p "$runs"
cluster() { scripts/cluster.sh --name "$name" "$@"; }
on_cluster() { cluster run "$PWD/build/lshdp" "$@"; }
is_up=false
need_cluster() {
  $is_up && return
  cluster down
  cluster up --cpus $shares
  is_up=true
  trap 'cluster down' EXIT
}

if [[ -z $model ]]; then
  model=$runs/vit.json
  cat >"$model" <<'JSON'
{"type": "vit", "image_size": 32, "channels": 3, "patch_size": 4, "num_layers": 4, "num_heads": 4,
 "hidden_dim": 192, "mlp_dim": 768, "num_classes": 10}
JSON
fi
data=$runs/data.h5
[[ -e $data ]] || build/lshdp data synthetic-images --count 8192 --channels 3 --size 32 --classes 10 --seed 1 --out "$data"

# plan_for NAME: profiles the cluster as it is and solves.
plan_for() {
  on_cluster profile --model "$model" --threads 1 --total "$total" --curve-seconds 15 --out "$runs/$1.profile.json"
  local how=()
  [[ $layout == data ]] || how=(--layout pipeline)
  build/lshdp optimize "$runs/$1.profile.json" --total "$total" "${how[@]}" --out "$runs/$1.$kind.json"
}

# train NAME OPTION..
train() {
  local run=$runs/$1
  shift
  on_cluster train --model "$model" --data "$data" --threads 1 --seed 1 --lr 1e-4 --results "$run" --overwrite "$@"
}

steps_done() { grep -c '"record":"step"' "$1/metrics.jsonl" 2>/dev/null || true; }

# after STEPS RUN PERCENT: sets node 0's share once the run has done so many steps, and notes where it was.
after() {
  until [[ $(steps_done "$2") -ge $1 ]]; do sleep 0.05; done
  cluster set 0 --cpu "$3"
  echo "$(steps_done "$2") $3" >>"$2/shares.txt"
}

stage_plan() {
  [[ -e $runs/halved.$kind.json ]] && return
  need_cluster
  plan_for full
  cluster set 0 --cpu $halved
  plan_for halved
  cluster set 0 --cpu $full
}

stage_fresh() {
  [[ -e $runs/fresh/summary.json ]] && return
  need_cluster
  cluster set 0 --cpu $halved
  train fresh "--$kind" "$runs/halved.$kind.json" --rebalance off --steps 30
  cluster set 0 --cpu $full
}

# drifting NAME OPTION..: a run in which node 0's share falls and returns.
drifting() {
  local run=$runs/$1
  [[ -e $run/summary.json ]] && return
  need_cluster
  rm -rf "$run" && mkdir -p "$run"
  (after $((steps / 3)) "$run" $halved && after $((2 * steps / 3)) "$run" $full) &
  local watcher=$!
  train "$@" "--$kind" "$runs/full.$kind.json" --steps "$steps" || { kill $watcher; return 1; }
  wait $watcher
}

stage_rebalanced() { drifting rebalanced --profile "$runs/full.profile.json" --rebalance 10; }
stage_fixed() { drifting fixed --rebalance off; }

stage_draw() {
  local python=.venv/bin/python
  [[ -x $python ]] || python=python3
  mkdir -p "$out"
  "$python" experiments/rebalance.py --runs "$runs" --out "$out"
}

for stage in "${stages[@]}"; do "stage_$stage"; done
