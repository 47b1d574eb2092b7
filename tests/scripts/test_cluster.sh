#!/usr/bin/env bash
# scripts/cluster.sh keeps its word: own host names, refusals, two clusters side by side, nothing left behind.
# Ends with 77 (skipped) where namespaces and control groups cannot be made.
set -euo pipefail
cluster="$(dirname "$0")/../../scripts/cluster.sh"
one=t$((RANDOM % 10000))a two=t$((RANDOM % 10000))b

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect_exit CODE COMMAND..: the command ends so.
expect_exit() {
  local wanted=$1 code=0
  shift
  "$@" >/dev/null 2>&1 || code=$?
  [[ $code == "$wanted" ]] || fail "exit code $code, not $wanted: $*"
}

# shows CLUSTER PATTERN: its status has such a line.
shows() { grep -q "$2" <<<"$("$cluster" --name "$1" status)"; }

if [[ $(id -u) != 0 ]] || ! ip netns add "$one-try" 2>/dev/null; then
  echo "skipped: needs root and network namespaces"
  exit 77
fi
ip netns del "$one-try"
if ! "$cluster" --name "$one" up --cpus 40,30 --rate 100mbit,1gbit 2>/dev/null; then
  echo "skipped: this machine does not let a cluster be made"
  exit 77
fi
trap '"$cluster" --name "$one" down; "$cluster" --name "$two" down' EXIT

[[ "$("$cluster" --name "$one" exec 1 hostname)" == node1 ]] || fail "a node has its own host name"
[[ "$("$cluster" --name "$one" run hostname 2>/dev/null | sort | tr '\n' ' ')" == "node0 node1 " ]] || fail "one rank per node"
"$cluster" --name "$one" exec 0 ping -c 1 -W 5 10.77.0.2 >/dev/null 2>&1 ||
  "$cluster" --name "$one" exec 0 bash -c 'getent hosts node1 | grep -q 10.77.0.2' || fail "nodes know each other"
shows "$one" "node0 .*40 %.*100mbit" || fail "status tells what was asked"
"$cluster" --name "$one" set 1 --cpu 20 --rate 500mbit
shows "$one" "node1 .*20 %.*500mbit" || fail "a node changes while it works"
"$cluster" --name "$one" rate 200mbit
shows "$one" "node0 .*40 %.*200mbit" && shows "$one" "node1 .*20 %.*200mbit" || fail "rate changes all links and no shares"
expect_exit 2 "$cluster" --name "$one" rate fast
if command -v iperf3 >/dev/null; then
  measured=$("$cluster" --name "$one" check)
  # Other work on the machine may take from a share, nothing adds to it.
  awk '/->/ { links += $5 > 150 && $5 < 210 } /of a core/ { shares += $3 > 0.4 * $2 && $3 < 1.1 * $2 } END { exit !(links == 2 && shares == 2) }' \
    <<<"$measured" || fail "check measures what was asked for: $measured"
else
  expect_exit 1 "$cluster" --name "$one" check
fi
expect_exit 1 "$cluster" --name "$one" up --cpus 10
expect_exit 2 "$cluster" --name "$one" set 2 --cpu 20
expect_exit 2 "$cluster" --name "$one" set 1 --cpu 0
expect_exit 2 "$cluster" --name "$two" up --cpus 10,20 --rate 1gbit,1gbit,1gbit
expect_exit 2 "$cluster" --name "$two" up
expect_exit 2 "$cluster" --name "$two" up --cpus 10,20 --delay soon
expect_exit 2 "$cluster" --name "$two" up --cpus 10,20 --delay 0ms
expect_exit 2 "$cluster" --name "$two" up --cpus 10 --memory lots
expect_exit 2 "$cluster" --name Not-A-Name status
expect_exit 2 "$cluster" nonsense

"$cluster" --name "$two" up --cpus 10 --memory 300 2>/dev/null
shows "$two" "1 nodes of 300 MiB" || fail "status tells the memory of nodes"
grep -qE "^([0-9]+:memory|0:):.*/lshdp-$two/node0" <<<"$("$cluster" --name "$two" exec 0 cat /proc/self/cgroup)" ||
  fail "a node has memory of its own"
"$cluster" --name "$one" exec 0 sleep 100 &
sleep 1  # it is on the node now
"$cluster" --name "$one" down
wait $! && fail "down stops what runs on the nodes"
grep -q "^$one-" <<<"$(ip netns list)" && fail "down removes the namespaces"
[[ "$("$cluster" --name "$two" exec 0 hostname)" == node0 ]] || fail "clusters do not disturb each other"
"$cluster" --name "$two" down
shows "$two" "not up" || fail "down can be seen"

if "$cluster" --name "$two" up --cpus 45,45 --delay 3ms 2>/dev/null; then
  shows "$two" "delay 3ms by" || fail "status tells the delay"
  if command -v iperf3 >/dev/null; then
    measured=$("$cluster" --name "$two" check)
    # A busy machine may add to a delay, nothing takes from it; half of the rate shows that packets are not held one by one.
    awk '/^delay/ { delays += $3 >= 3 && $3 < 9 } /->/ { links += $5 > 500 } END { exit !(delays == 1 && links == 2) }' <<<"$measured" ||
      fail "packets are delayed, and the rate stays: $measured"
  fi
  "$cluster" --name "$two" down
  pgrep -f 'delay_relay delay[01] 3000000$' >/dev/null && fail "down stops what delays packets"
else
  [[ ! -c /dev/net/tun ]] || fail "packets are delayed"
  echo "neither netem nor tap devices: delays were not tested"
fi
echo "passed"
