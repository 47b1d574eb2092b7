#!/usr/bin/env bash
# Trains on hosts of which some may fail: starts a run, and after a failure starts it again on the hosts that answer.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/train_resilient.sh [OPTION..] -- train --results DIR ..

  --hosts FILE|LIST    a hostfile of Open MPI (node1 slots=2), or hosts with their ranks: node1:2,node2 (default: localhost:1)
  --max-failures N     gives up after N failures in a row that come no further than the one before (default: 3)
  --answer-within S    seconds that a host may take to answer (default: 10)
  --begin-within S     ends a start that does not train by then, measuring included (default: 1800; 0: never)
  --check-host CMD     succeeds where a host can be used; {host} stands for its name (default: ssh {host} true)
  --launcher CMD       starts the ranks; {ranks}, {hosts} (a:2,b:1) and {names} (a,b) stand for what is used
                       (default: mpirun -np {ranks} --host {hosts} --map-by slot --bind-to none)
  --program PATH       lshdp on all hosts (default: build/lshdp beside this script, else the lshdp of PATH)

DIR must lie in a file system that all hosts share. --resume auto is added: a run that is there goes on from its newest good
checkpoint. With --batches auto and --total, batches are solved anew for the hosts that are left, and the mathematics stays.
A host that answers again is taken in at the next start. A launcher that goes on 30 seconds after its ranks have ended, as mpirun
does when a link is cut, is ended. What is decided is logged on standard error, a line each.

SIGTERM, SIGINT and SIGUSR1 end the run at its next step with a checkpoint and exit code 75; a second one ends it at once.
Exit codes: 75 then, 2 for wrong usage, which is not tried again, otherwise that of the run's last start.

example, on the nodes of scripts/cluster.sh:
  scripts/train_resilient.sh --hosts 0,1,2 --launcher 'scripts/cluster.sh run --nodes {names}' \
    --check-host 'scripts/cluster.sh exec {host} true' -- train --total 64 --checkpoint-every 20 --results runs/a ..
END
}

misuse() {
  echo "train_resilient: $*; see --help" >&2
  exit 2
}

say() { printf '%(%Y-%m-%dT%H:%M:%SZ)T resilient: %s\n' -1 "$*" >&2; }

now_us() { echo "${EPOCHREALTIME//[!0-9]/}"; }

# seconds_since MICROSECONDS: "6.3 s".
seconds_since() {
  local tenths=$((($(now_us) - $1 + 50000) / 100000))
  echo "$((tenths / 10)).$((tenths % 10)) s"
}

export TZ=UTC

# --- what was asked for ------------------------------------------------------------------------------------------------

hosts=localhost:1 max_failures=3 answer_within=10 begin_within=1800 check_host="" launcher="" program=""

require_count() { [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || misuse "$1 $2: a whole number above 0"; }

read_options() {
  while [[ $# -gt 0 && $1 != -- ]]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --hosts | --max-failures | --answer-within | --begin-within | --check-host | --launcher | --program)
        [[ $# -ge 2 && -n $2 ]] || misuse "$1: its value is missing"
        case $1 in
          --hosts) hosts=$2 ;;
          --max-failures) require_count "$1" "$2" && max_failures=$2 ;;
          --answer-within) require_count "$1" "$2" && answer_within=$2 ;;
          --begin-within) [[ $2 == 0 ]] || require_count "$1" "$2"; begin_within=$2 ;;
          --check-host) check_host=$2 ;;
          --launcher) launcher=$2 ;;
          --program) program=$2 ;;
        esac
        shift 2
        ;;
      *) misuse "$1: not an option" ;;
    esac
  done
  [[ ${1:-} == -- && ${2:-} == train ]] || misuse "what is to be started is missing: -- train --results DIR .."
  shift
  command=("$@")
}

names=() ranks=() # by host

add_host() {
  local name=$1 count=$2
  [[ $name =~ ^[A-Za-z0-9_.-]+$ && $count =~ ^[1-9][0-9]*$ ]] || misuse "--hosts: '$name:$count' is no host with its ranks"
  [[ " ${names[*]} " != *" $name "* ]] || misuse "--hosts: $name is there twice"
  names+=("$name")
  ranks+=("$count")
}

read_hosts() {
  local line entry entries
  if [[ -f $hosts ]]; then
    while read -r line || [[ -n $line ]]; do
      line=${line%%#*}
      [[ -n ${line// /} ]] || continue
      if [[ $line =~ ^[[:space:]]*([^[:space:]]+)[[:space:]]+slots[[:space:]]*=[[:space:]]*([0-9]+)[[:space:]]*$ ]]; then
        add_host "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
      elif [[ $line =~ ^[[:space:]]*([^[:space:]]+)[[:space:]]*$ ]]; then
        add_host "${BASH_REMATCH[1]}" 1
      else
        misuse "--hosts $hosts: cannot read '$line': NAME, or NAME slots=N"
      fi
    done <"$hosts"
  else
    IFS=, read -r -a entries <<<"$hosts"
    for entry in "${entries[@]}"; do
      if [[ $entry == *:* ]]; then add_host "${entry%:*}" "${entry##*:}"; else add_host "$entry" 1; fi
    done
  fi
  [[ ${#names[@]} -gt 0 ]] || misuse "--hosts $hosts: there is no host in it"
}

# option_of NAME: its value in the command, as --NAME VALUE or --NAME=VALUE; fails where it is not given.
option_of() {
  local at
  for at in "${!command[@]}"; do
    case ${command[at]} in
      "--$1") echo "${command[at + 1]:-}" && return ;;
      "--$1="*) echo "${command[at]#*=}" && return ;;
    esac
  done
  return 1
}

check_command() {
  local batches
  results=$(option_of results) || misuse "train --results DIR is missing: it is where the run goes on"
  [[ $(option_of resume || echo auto) == auto ]] || misuse "train --resume: it is auto here; name its run with --results"
  option_of overwrite >/dev/null && misuse "train --overwrite would begin anew after every failure; remove $results yourself"
  option_of resume >/dev/null || command+=(--resume auto)
  batches=$(option_of batches || echo auto)
  [[ ${#names[@]} == 1 || $batches == auto || $batches == equal ]] ||
    misuse "train --batches $batches is for one number of ranks, which changes with the hosts; give auto or equal, and --total"
}

find_program() {
  local beside
  beside=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../build/lshdp
  [[ -n $program ]] || program=lshdp
  [[ $program != lshdp || ! -x $beside ]] || program=$(readlink -f "$beside")
}

default_launcher() {
  local root=""
  [[ $(id -u) != 0 ]] || root=" --allow-run-as-root"
  echo "mpirun$root -np {ranks} --host {hosts} --map-by slot --bind-to none"
}

# --- processes ---------------------------------------------------------------------------------------------------------

run_pid="" watchers=() stopping=false signals=0 asked_at=0

# Called for every signal; `wait` ends early then.
stop() {
  ((++signals))
  if $stopping; then
    # timeout and launchers signal a process and then its group: that is the same wish.
    [[ $(($(now_us) - asked_at)) -gt 1000000 ]] || return 0
    say "SIG$1 again: the run is ended at once"
    end_at_once
    end_watchers
    trap - "$1"
    kill "-$1" $$
  fi
  # Without a subshell: a second signal could come while one is waited for, and find the time missing.
  asked_at=${EPOCHREALTIME//[!0-9]/}
  stopping=true
  say "SIG$1: the run ends at its next step, with a checkpoint"
  [[ -z $run_pid ]] || kill -USR1 "$run_pid" 2>/dev/null || true
}

end_watchers() {
  [[ ${#watchers[@]} == 0 ]] || kill "${watchers[@]}" 2>/dev/null || true
  watchers=()
}

# end_session LAUNCHER: it leads a session of its own; a signal of the terminal does not reach it, and what it started here
# is told by it.
end_session() {
  kill -TERM "$1" 2>/dev/null || true
  local until=$((SECONDS + 5))
  while kill -0 "$1" 2>/dev/null && [[ $SECONDS -lt $until ]]; do sleep 0.1; done
  pkill -KILL -s "$1" || true
}

end_at_once() { [[ -z $run_pid ]] || end_session "$run_pid"; }

code=0

# await PID: its exit code in `code`, however many signals come meanwhile.
await() {
  local before
  while true; do
    before=$signals code=0
    wait "$1" || code=$?
    [[ $signals == "$before" ]] && return
  done
}

pause() {
  sleep "$1" &
  wait $! || true
}

# --- hosts -------------------------------------------------------------------------------------------------------------

is_here() {
  local here
  here=$(hostname)
  [[ $1 == localhost || $1 == "$here" || $1 == "${here%%.*}" ]]
}

answers() {
  local line
  if [[ -z $check_host ]]; then
    is_here "$1" && return
    line=(ssh -o BatchMode=yes -o "ConnectTimeout=$answer_within" "$1" true)
  else
    read -r -a line <<<"${check_host//\{host\}/$1}"
  fi
  timeout -k 1 "$answer_within" "${line[@]}" </dev/null >/dev/null 2>&1
}

used=() # numbers of the hosts that the run has, or is to have

find_hosts() {
  local host pids=() before=" ${used[*]} " first=$((starts == 0))
  for host in "${!names[@]}"; do
    answers "${names[host]}" &
    pids[host]=$!
  done
  used=()
  for host in "${!names[@]}"; do
    await "${pids[host]}"
    if [[ $code == 0 ]]; then
      used+=("$host")
      [[ $first == 1 || $before == *" $host "* ]] || say "host ${names[host]} answers again: it is taken in"
    elif [[ $first == 1 || $before == *" $host "* ]]; then
      say "host ${names[host]} does not answer: it is left out"
    fi
  done
}

# --- the run -----------------------------------------------------------------------------------------------------------

# last KEY: of the last step that the run has told of; empty: of none.
last() {
  tail -n 50 "$results/metrics.jsonl" 2>/dev/null | grep '"record":"step"' | tail -n 1 |
    sed -n "s/.*\"$1\":\"\?\([^,\"}]*\).*/\1/p" || true
}

last_step() {
  local step
  step=$(last step)
  echo "${step:-0}"
}

# When that was, in microseconds; now where there was none.
last_step_us() {
  local at
  at=$(last time)
  [[ -z $at ]] || at=$(date -d "$at" +%s%6N) || at=""
  echo "${at:-$(now_us)}"
}

# Of the newest checkpoint; 0: there is none.
checkpointed_step() {
  local manifest step newest=0
  for manifest in "$results"/checkpoints/step-*/manifest.json; do
    step=${manifest%/manifest.json} step=${step##*/step-}
    [[ -e $manifest && $step =~ ^[0-9]+$ && $step -gt $newest ]] && newest=$step
  done
  echo "$newest"
}

# A run that begins or goes on writes metrics.jsonl anew.
metrics_file() { stat -c %i "$results/metrics.jsonl" 2>/dev/null || echo none; }

# watch_first_step FAILED_AT STEP_AT FILE: tells what a failure cost, once the new launch has done a step.
watch_first_step() {
  until [[ $(metrics_file) != "$3" ]] && tail -n 1 "$results/metrics.jsonl" 2>/dev/null | grep -q '"record":"step"'; do
    kill -0 $$ 2>/dev/null || return 0
    sleep 0.1
  done
  say "training goes on: step $(last_step) is done $(seconds_since "$1") after the failure," \
    "$(seconds_since "$2") after the last step before it"
}

# A rank that lost the others may hold the run directory a little longer.
wait_for_folder() {
  local until=$((SECONDS + 60)) said=false
  while is_held && ! $stopping && [[ $SECONDS -lt $until ]]; do
    $said || say "a rank of the start before still holds $results: waiting for its end"
    said=true
    pause 1
  done
}

is_held() {
  local held=0
  [[ -e $results/.lock ]] || return 1
  flock --nonblock --conflict-exit-code 99 "$results/.lock" true 2>/dev/null || held=$?
  [[ $held == 99 ]]
}

# What a start changes in the run directory once it trains.
run_files() { stat -c %n:%i:%Y "$results"/{run.json,metrics.jsonl} 2>/dev/null || true; }

after_ranks=30 # seconds that a launcher may take to end after its ranks

# watch_launcher PID FILES: ends a launcher that does not begin, or stays when its ranks have ended. FILES: run_files before.
# The lock is tried only when a rank has it: trying takes a free one for a moment, in which the rank would find it taken.
watch_launcher() {
  local began=$SECONDS held_at="" why=""
  while [[ -z $why ]] && sleep 1 && kill -0 "$1" 2>/dev/null && kill -0 $$ 2>/dev/null; do
    if [[ $(run_files) == "$2" ]]; then
      [[ $begin_within == 0 || $((SECONDS - began)) -lt $begin_within ]] ||
        why="it wrote nothing into $results in $begin_within s (--begin-within)"
    elif is_held; then
      held_at=$SECONDS
    elif [[ -n $held_at && $((SECONDS - held_at)) -ge $after_ranks ]]; then
      why="it went on for $after_ranks s after its ranks"
    fi
  done
  [[ -n $why ]] || return 0
  say "the launcher is ended: $why"
  end_session "$1"
}

# start FAILED_AT: runs the command on the hosts in use; its exit code in `code`. FAILED_AT: when the start before ended; empty:
# this is the first.
start() {
  local host of_hosts="" of_names="" count=0 line files
  for host in "${used[@]}"; do
    of_hosts+=,${names[host]}:${ranks[host]}
    of_names+=,${names[host]}
    count=$((count + ranks[host]))
  done
  line=${launcher//\{hosts\}/${of_hosts#,}}
  line=${line//\{names\}/${of_names#,}}
  read -r -a line <<<"${line//\{ranks\}/$count}"
  starts=$((starts + 1))
  say "start $starts: $count ranks on ${of_hosts#,}"
  if [[ -n $1 ]]; then
    watch_first_step "$1" "$(last_step_us)" "$(metrics_file)" &
    watchers+=($!)
  fi
  files=$(run_files)
  setsid "${line[@]}" "$program" "${command[@]}" </dev/null &
  run_pid=$!
  watch_launcher "$run_pid" "$files" &
  watchers+=($!)
  ! $stopping || kill -USR1 "$run_pid" 2>/dev/null || true
  await "$run_pid"
  end_watchers
}

failures=0 furthest=-1 checkpointed=0

# Counts failures in a row that come no further: to a later step, or to another checkpoint.
count_failure() {
  local step newest
  step=$(last_step) newest=$(checkpointed_step)
  if [[ $step -gt $furthest || $newest -gt $checkpointed ]]; then
    failures=0 furthest=$step
  fi
  checkpointed=$newest
  failures=$((failures + 1))
  say "$1 after step $step, with a checkpoint of step $newest: failure $failures of $max_failures that come no further"
}

end() {
  say "$2"
  exit "$1"
}

# Ends unless the start failed in a way that is worth another try.
judge() {
  local ended=$run_pid
  run_pid=""
  case $code in
    0) end 0 "the run is done" ;;
    75) end 75 "the run was interrupted, and can go on: exit code 75" ;;
    2) end 2 "wrong usage is not tried again: exit code 2" ;;
    126 | 127) end "$code" "nothing could be started: exit code $code" ;;
  esac
  pkill -KILL -s "$ended" || true # what its launcher left behind
  ! $stopping || end 75 "the run failed with exit code $code as it was to end: it can go on from its newest checkpoint"
}

main() {
  local failed_at=""
  while true; do
    find_hosts
    ! $stopping || end 75 "nothing was running: exit code 75"
    if [[ ${#used[@]} -gt 0 ]]; then
      wait_for_folder
      start "$failed_at"
      failed_at=$(now_us)
      judge
      count_failure "the run failed with exit code $code"
    else
      code=1
      count_failure "no host answers"
    fi
    [[ $failures -lt $max_failures ]] || end "$code" "giving up: exit code $code"
    [[ $failures == 1 ]] || pause $((failures < 6 ? 1 << (failures - 2) : 30))
  done
}

read_options "$@"
read_hosts
check_command
find_program
[[ -n $launcher ]] || launcher=$(default_launcher)
starts=0
for signal in TERM INT USR1; do
  # shellcheck disable=SC2064
  trap "stop $signal" "$signal"
done
main
