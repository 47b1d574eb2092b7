#!/usr/bin/env bash
# scripts/train_resilient.sh and scripts/slurm/train.sbatch keep their word: first with launchers that only note how they
# were called, then with runs of two ranks, one of which is killed.
# usage: test_train_resilient.sh LSHDP
set -euo pipefail
scripts=$(readlink -f "$(dirname "$0")/../../scripts") lshdp=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 FAKE=$work/fake

fail() {
  echo "FAILED: $*" >&2
  [[ ! -e $work/log ]] || cat "$work/log" >&2
  exit 1
}

# expect CODE COMMAND..: it ends so; its output is in $work/log.
expect() {
  local wanted=$1 code=0
  shift
  timeout -k 5 240 "$@" >"$work/log" 2>&1 || code=$?
  [[ $code == "$wanted" ]] || fail "exit code $code, not $wanted: $*"
}

logged() { grep -q -- "$1" "$work/log" || fail "its log has no '$1'"; }

# --- which starts it makes ---------------------------------------------------------------------------------------------

# Ends as the next line of "codes" says, after the next line of "deeds" was done.
mkdir "$FAKE"
cat >"$FAKE/start" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$FAKE/starts"
next() { [[ ! -s $FAKE/$1 ]] || { head -n 1 "$FAKE/$1"; sed -i 1d "$FAKE/$1"; }; }
eval "$(next deeds)"
code=$(next codes)
exit "${code:-0}"
END
chmod +x "$FAKE/start"

# begin CODE..: what the next starts end with.
begin() {
  rm -rf "$FAKE"/{starts,deeds} "$work/run"
  mkdir "$work/run"
  printf '%s\n' "$@" >"$FAKE/codes"
}

resilient=("$scripts/train_resilient.sh" --launcher "$FAKE/start {ranks} {hosts} {names}" --program prog)
train=(-- train --total 16 --results "$work/run")

starts() { wc -l <"$FAKE/starts"; }

begin 2 0
expect 2 "${resilient[@]}" "${train[@]}"
[[ $(starts) == 1 ]] || fail "wrong usage is not tried again"
begin 1 1 1 0
expect 1 "${resilient[@]}" --max-failures 2 "${train[@]}"
[[ $(starts) == 2 ]] || fail "it gives up after failures in a row at one step"
logged "failure 2 of 2"
begin 1 1 137 0
for step in 1 2 3; do
  echo "echo '{\"batches\":[16],\"record\":\"step\",\"samples\":16,\"step\":$step}' >>$work/run/metrics.jsonl" >>"$FAKE/deeds"
done
expect 0 "${resilient[@]}" --max-failures 2 "${train[@]}"
[[ $(starts) == 4 ]] || fail "a run that comes further does not fail in a row"
begin 75 0
expect 75 "${resilient[@]}" "${train[@]}"
[[ $(starts) == 1 ]] || fail "an interrupted run ends"
begin 127
expect 127 "${resilient[@]}" "${train[@]}"
expect 127 "$scripts/train_resilient.sh" --launcher "$work/no-such-program" "${train[@]}"

begin 0
echo "sleep 100" >"$FAKE/deeds"
expect 143 "${resilient[@]}" --max-failures 1 --begin-within 2 "${train[@]}"
logged "the launcher is ended: it wrote nothing into $work/run in 2 s"
# As mpirun does when a link is cut: the rank, which holds the folder's lock, ends, and the launcher stays.
begin 0
echo "touch $work/run/metrics.jsonl; flock $work/run/.lock sleep 15; sleep 200" >"$FAKE/deeds"
expect 0 "${resilient[@]}" "${train[@]}"
[[ $(starts) == 2 ]] || fail "a launcher that stays is ended, and the run goes on"
logged "the launcher is ended: it went on for 30 s after its ranks"

begin 1 1 0
touch "$work/up-a"
echo "touch $work/up-b" >"$FAKE/deeds"
echo "rm $work/up-a" >>"$FAKE/deeds"
printf '# two hosts\na slots=2\nb # one rank\n' >"$work/hosts"
expect 0 "${resilient[@]}" --hosts "$work/hosts" --max-failures 9 --check-host "test -e $work/up-{host}" "${train[@]}"
[[ "$(cut -d ' ' -f 1-3 "$FAKE/starts" | tr '\n' ';')" == "2 a:2 a;3 a:2,b:1 a,b;1 b:1 b;" ]] || fail "hosts that answer are used"
grep -q "^1 b:1 b prog train --total 16 --results $work/run --resume auto\$" "$FAKE/starts" || fail "it resumes"
logged "host b answers again: it is taken in"
logged "host a does not answer: it is left out"
begin 0
expect 1 "${resilient[@]}" --hosts c,d --max-failures 2 --check-host "test -e $work/up-{host}" "${train[@]}"
[[ ! -e $FAKE/starts ]] || fail "nothing is started where no host answers"

expect 2 "${resilient[@]}" -- train --total 16
expect 2 "${resilient[@]}" "${train[@]}" --overwrite
expect 2 "${resilient[@]}" "${train[@]}" --resume "$work/other"
expect 2 "${resilient[@]}" --hosts a,b "${train[@]}" --batches 8,8
expect 2 "${resilient[@]}" --hosts a:x "${train[@]}"
expect 2 "${resilient[@]}" --hosts a,a "${train[@]}"
expect 2 "${resilient[@]}" --max-failures 0 "${train[@]}"
expect 2 "${resilient[@]}" --begin-within never "${train[@]}"
expect 2 "${resilient[@]}" --nonsense "${train[@]}"
expect 2 "${resilient[@]}"
expect 0 "$scripts/train_resilient.sh" --help

# --- a job of Slurm ----------------------------------------------------------------------------------------------------

mkdir "$work/bin"
cat >"$work/bin/scontrol" <<'END'
#!/bin/bash
echo "$*" >>"$FAKE/requeued"
END
# mpirun of a run that ends in order when it is told to.
cat >"$work/bin/mpirun" <<'END'
#!/bin/bash
trap 'exit 75' USR1
[[ ! -e $FAKE/done ]] || exit 0
touch "$FAKE/running"
while true; do sleep 0.1; done
END
chmod +x "$work"/bin/*
job() {
  SLURM_JOB_ID=7 RESULTS=$work/run PATH=$work/bin:$PATH timeout -k 5 60 bash "$scripts/slurm/train.sbatch" >"$work/log" 2>&1 &
  local job=$!
  if [[ ${1:-} == interrupted ]]; then
    until [[ -e $FAKE/running ]]; do sleep 0.05; done
    pkill -USR1 -P "$job" bash
  fi
  code=0
  wait "$job" || code=$?
}
job interrupted
[[ $code == 75 && "$(cat "$FAKE/requeued")" == "requeue 7" ]] || fail "an interrupted job goes back into the queue: $code"
touch "$FAKE/done"
rm "$FAKE/requeued"
job
[[ $code == 0 && ! -e $FAKE/requeued ]] || fail "a job that is done is done: $code"

# --- runs of two ranks -------------------------------------------------------------------------------------------------

echo '{"type":"mlp","input_size":64,"hidden_sizes":[16,8],"output_size":5}' >"$work/mlp.json"
"$lshdp" data synthetic-images --count 100 --channels 1 --size 8 --classes 5 --out "$work/data.h5" --log warn
common=(--model "$work/mlp.json" --data "$work/data.h5" --total 16 --batches equal --precision fp64 --checkpoint-every 5 --log warn)
resilient=("$scripts/train_resilient.sh" --hosts localhost:2 --program "$lshdp")

# kill_rank SIGNAL RANK: of the run in $work/run.
kill_rank() {
  local process
  for process in $(pgrep -f -- "--results $work/run "); do
    if grep -qz "^OMPI_COMM_WORLD_RANK=$2\$" "/proc/$process/environ" 2>/dev/null; then kill "-$1" "$process"; fi
  done
}

# kill_in STEPS: runs so many steps, in which a rank is killed after the first checkpoint. Fails where it came too late.
kill_in() {
  rm -rf "$work/run"
  timeout -k 5 240 "${resilient[@]}" -- train "${common[@]}" --steps "$1" --results "$work/run" --trace >"$work/log" 2>&1 &
  local script=$! code=0
  until compgen -G "$work/run/checkpoints/*/manifest.json" >/dev/null || ! kill -0 "$script" 2>/dev/null; do sleep 0.02; done
  kill_rank KILL 1
  wait "$script" || code=$?
  [[ $code == 0 ]] || fail "a run goes on after a rank was killed: exit code $code"
  grep -q "start 2: 2 ranks on localhost:2" "$work/log"
}

steps=400
until kill_in $steps; do
  steps=$((4 * steps)) # the machine was busy: the run was over before its rank was killed
  [[ $steps -lt 100000 ]] || fail "no rank could be killed"
done
logged "failure 1 of 3"
logged "training goes on: step .* is done .* s after the failure, .* s after the last step before it"
logged "the run is done"
root=()
[[ $(id -u) != 0 ]] || root=(--allow-run-as-root)
timeout -k 5 240 mpirun "${root[@]}" --oversubscribe --bind-to none -np 2 "$lshdp" train "${common[@]}" --steps "$steps" \
  --results "$work/undisturbed" >"$work/log" 2>&1 || fail "an undisturbed run"
cmp "$work/run/model.safetensors" "$work/undisturbed/model.safetensors" || fail "the weights are those of an undisturbed run"
expect 0 "${resilient[@]}" -- train "${common[@]}" --steps "$steps" --results "$work/run"

rm -rf "$work/run"
timeout -k 5 240 "${resilient[@]}" -- train "${common[@]}" --steps 1000000 --results "$work/run" --trace >"$work/log" 2>&1 &
script=$!
until compgen -G "$work/run/checkpoints/*/manifest.json" >/dev/null; do sleep 0.05; done
kill -TERM "$script" # timeout passes it on, and to its group as well
code=0
wait "$script" || code=$?
[[ $code == 75 ]] || fail "SIGTERM ends the run in order: exit code $code"
logged "SIGTERM: the run ends at its next step"
logged "interrupted after step"
grep -q '"finished": false' "$work/run/summary.json" || fail "an interrupted run writes its summary"
! pgrep -f -- "--results $work/run " >/dev/null || fail "nothing is left of the run"
echo "passed"
