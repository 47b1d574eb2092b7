#!/usr/bin/env bash
# Emulates a cluster of unequal nodes on this machine: network namespaces, shaped links, CPU shares.
set -Eeuo pipefail

usage() {
  cat <<'END'
usage: scripts/cluster.sh [--name NAME] COMMAND

  up --cpus P,P,.. [--rate R[,R..]] [--delay T] [--memory MIB]
                                                  one node per P: percent of a core; R: link rate of all or of each
                                                  node, as tc writes it (default 1gbit); T: each packet's delay, one way;
                                                  MIB: memory of each node (default: equal shares of what is available)
  exec NODE COMMAND..                             runs a command on a node (0, 1, ..)
  run [--nodes K,K..] [MPIRUN OPTION..] COMMAND.. runs a command with mpirun, one rank per node
  set NODE [--cpu P] [--rate R]                   changes a node while it works
  rate R                                          changes the links of all nodes
  check                                           measures what was asked for: needs iperf3 and python3
  status                                          what is up
  down                                            stops what runs on the nodes and removes them, also after a crash

Node K is the network namespace NAME-nK (address 10.77.0.K+1, interface eth0, host name nodeK); the switch between them is
NAME-sw. Clusters of different names (default: lshdp) live side by side. Needs root, and iproute2. Packets are delayed by
netem; where the kernel has none, by build/delay_relay, a process for each node outside its CPU share.

example: scripts/cluster.sh up --cpus 50,50,33,55 && scripts/cluster.sh run build/lshdp --help; scripts/cluster.sh down
END
}

die() {
  echo "cluster: $*" >&2
  exit 1
}

misuse() {
  echo "cluster: $*" >&2
  exit 2
}

name=lshdp
prefix=10.77.0
period_us=20000 # with the usual 100 ms a slow node freezes for tens of milliseconds at a time

# --- control groups: version 1 with cpu and memory hierarchies of their own, or version 2 -------------------------------------------

if [[ "$(stat -fc %T /sys/fs/cgroup 2>/dev/null)" == cgroup2fs ]]; then
  cgroup_version=2 cgroup_root=/sys/fs/cgroup memory_root=/sys/fs/cgroup
else
  cgroup_version=1 cgroup_root=/sys/fs/cgroup/cpu memory_root=/sys/fs/cgroup/memory
fi

cgroup_of() { echo "$cgroup_root/lshdp-$name/node$1"; }
memory_cgroup_of() { echo "$memory_root/lshdp-$name/node$1"; }
relay_cgroup() { echo "$cgroup_root/lshdp-$name/relays"; }

make_cgroups() {
  [[ $cgroup_version == 2 ]] && echo "+cpu +memory" >"$cgroup_root/cgroup.subtree_control"
  mkdir "$cgroup_root/lshdp-$name"
  [[ $cgroup_version == 2 ]] && echo "+cpu +memory" >"$cgroup_root/lshdp-$name/cgroup.subtree_control"
  local node
  for node in "${!cpus[@]}"; do mkdir "$(cgroup_of "$node")"; done
  [[ $cgroup_version == 2 ]] || mkdir "$memory_root/lshdp-$name"
  for node in "${!cpus[@]}"; do
    [[ $cgroup_version == 2 ]] || mkdir "$(memory_cgroup_of "$node")"
    set_memory "$node"
  done
  [[ $delay_by == relay ]] || return 0
  mkdir "$(relay_cgroup)" # ahead of every node: a packet late because a node computes would be the emulation's fault
  if [[ $cgroup_version == 2 ]]; then echo 10000 >"$(relay_cgroup)/cpu.weight"; else echo 10000 >"$(relay_cgroup)/cpu.shares"; fi
}

# A node that took the whole machine's memory for its own would be killed with the others.
set_memory() {
  local file=memory.limit_in_bytes
  [[ $cgroup_version == 2 ]] && file=memory.max
  echo "${memory_mib}M" >"$(memory_cgroup_of "$1")/$file"
}

# Equal shares of nine tenths: the rest is for what is no node.
share_of_memory() {
  awk -v n="${#cpus[@]}" '/^MemAvailable:/ { printf "%d", 0.9 * $2 / 1024 / n }' /proc/meminfo
}

# set_share NODE PERCENT. A burst of one quota lets a node catch up on what a wake-up made it miss.
set_share() {
  local group quota weight
  group=$(cgroup_of "$1")
  quota=$(awk -v p="$2" -v t=$period_us 'BEGIN { printf "%d", p * t / 100 }')
  weight=$(awk -v p="$2" 'BEGIN { w = int(p * 10); print (w < 2 ? 2 : (w > 10000 ? 10000 : w)) }')
  if [[ $cgroup_version == 2 ]]; then
    [[ -e $group/cpu.max.burst ]] && echo 0 >"$group/cpu.max.burst"
    echo "$quota $period_us" >"$group/cpu.max"
    [[ -e $group/cpu.max.burst ]] && echo "$quota" >"$group/cpu.max.burst"
    echo "$weight" >"$group/cpu.weight"
  else
    [[ -e $group/cpu.cfs_burst_us ]] && echo 0 >"$group/cpu.cfs_burst_us"
    echo $period_us >"$group/cpu.cfs_period_us"
    echo "$quota" >"$group/cpu.cfs_quota_us"
    [[ -e $group/cpu.cfs_burst_us ]] && echo "$quota" >"$group/cpu.cfs_burst_us"
    echo "$weight" >"$group/cpu.shares"
  fi
}

remove_cgroups() {
  remove_groups_in "$cgroup_root"
  [[ $cgroup_version == 2 ]] || remove_groups_in "$memory_root"
}

remove_groups_in() {
  local group=$1/lshdp-$name part tries
  [[ -d $group ]] || return 0
  for tries in {1..50}; do
    for part in "$group"/*/; do
      [[ -e $part/cgroup.procs ]] && xargs -r kill -KILL <"$part/cgroup.procs" 2>/dev/null || true
      rmdir "$part" 2>/dev/null || true
    done
    rmdir "$group" 2>/dev/null && return 0
    sleep 0.1
  done
  die "processes of $group do not end"
}

# --- network -----------------------------------------------------------------------------------------------------------

# shape NAMESPACE INTERFACE RATE DELAY
shape() {
  tc -n "$1" qdisc replace dev "$2" root handle 1: tbf rate "$3" burst 256kb latency 50ms
  [[ $4 == 0 ]] || tc -n "$1" qdisc replace dev "$2" parent 1:1 handle 10: netem delay "$4" limit 100000
}

# Both directions of a node's link have the rate; the delay is where packets leave the node.
shape_node() {
  local held=0
  [[ $delay_by == netem ]] && held=$delay
  shape "$name-n$1" eth0 "$2" "$held"
  shape "$name-sw" "port$1" "$2" 0
}

make_node() {
  local node=$1
  ip netns add "$name-n$node"
  ip -n "$name-sw" link add name "port$node" type veth peer name eth0 netns "$name-n$node"
  ip -n "$name-sw" link set "port$node" master br0 up
  ip -n "$name-n$node" addr add "$prefix.$((node + 1))/24" dev eth0
  ip -n "$name-n$node" link set lo up
  ip -n "$name-n$node" link set eth0 up
  set_congestion_control "$name-n$node"
}

# Debian's default on a LAN, or the nearest to it that the kernel lets a namespace choose: not bbr, which the machine may
# have for its own connections and which spends CPU time on pacing.
set_congestion_control() {
  local control
  for control in cubic reno; do
    nsenter --net="/run/netns/$1" sysctl -qw net.ipv4.tcp_congestion_control=$control 2>/dev/null && return
  done
  die "neither cubic nor reno can be set as TCP congestion control of a network namespace"
}

choose_delay_by() {
  relay=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../build/delay_relay
  delay_by=netem
  ip netns add "$name-try"
  tc -n "$name-try" qdisc add dev lo root netem delay "$delay" 2>/dev/null || delay_by=relay
  ip netns del "$name-try"
  [[ $delay_by == relay ]] || return 0
  [[ -x $relay ]] ||
    die "--delay $delay: this kernel has no netem queueing discipline, and what holds packets in its place is not built:" \
      "cmake --build --preset release --target delay_relay"
  echo "cluster: this kernel has no netem queueing discipline: packets are delayed by delay_relay" >&2
}

# What leaves a node is handed to the relay's device as it reaches the switch, and comes back from it into the switch. The
# node's address stays where the node is: nothing for it goes through the relay.
start_relay() {
  local switch=$name-sw port=port$1 device=delay$1 address log nanoseconds tries
  log=$(state_folder)/relay$1.log
  nanoseconds=$(awk -v t="$delay" 'BEGIN { printf "%.0f", t * (t ~ /ms$/ ? 1e6 : t ~ /us$/ ? 1e3 : 1e9) }')
  address=$(ip -n "$name-n$1" -brief link show eth0 | awk '{ print $3 }')
  ip -n "$switch" tuntap add dev "$device" mode tap vnet_hdr
  ip -n "$switch" link set "$device" txqueuelen 10000 master br0 up
  ip -n "$switch" link set "$device" type bridge_slave learning off flood off mcast_flood off bcast_flood off
  bridge -n "$switch" fdb replace "$address" dev "$port" master static
  tc -n "$switch" qdisc add dev "$port" clsact
  tc -n "$switch" filter add dev "$port" ingress protocol all u32 match u32 0 0 action mirred egress redirect dev "$device"
  (
    echo $BASHPID >"$(relay_cgroup)/cgroup.procs"
    exec setsid nsenter --net="/run/netns/$switch" "$relay" "$device" "$nanoseconds" </dev/null >"$log" 2>&1
  ) &
  for tries in {1..100}; do
    grep -q LOWER_UP <<<"$(ip -n "$switch" link show "$device")" && return 0
    kill -0 $! 2>/dev/null || break
    sleep 0.05
  done
  echo "cluster: --delay $delay: the relay of node $1 does not work: $(cat "$log")" >&2
  return 1
}

# --- state -------------------------------------------------------------------------------------------------------------

set_name() {
  [[ $1 =~ ^[a-z][a-z0-9]{0,9}$ ]] || misuse "--name $1: up to 10 letters and digits, small, the first a letter"
  name=$1
}

state_folder() { echo "/run/lshdp-cluster/$name"; }

# The variables cpus, rates (arrays by node), memory_mib, delay and delay_by are written to, and read from, one file.
save_state() { declare -p cpus rates memory_mib delay delay_by >"$(state_folder)/state"; }

load_state() {
  [[ -e $(state_folder)/state ]] || die "no cluster $name is up; see: scripts/cluster.sh up --help"
  # shellcheck disable=SC1091
  source <(sed 's/^declare -/declare -g/; s/^declare -g-/declare -g /' "$(state_folder)/state")
}

require_node() { [[ $1 =~ ^[0-9]+$ && -n ${cpus[$1]:-} ]] || misuse "node $1: there are nodes 0 to $((${#cpus[@]} - 1))"; }

require_percent() { [[ $1 =~ ^[0-9]+(\.[0-9]+)?$ && ! $1 =~ ^0+(\.0+)?$ ]] || misuse "--cpu $1: a percentage of a core, above 0"; }

require_memory() { [[ $1 =~ ^[1-9][0-9]*$ ]] || misuse "--memory $1: MiB of each node, as in 4096"; }

require_delay() { [[ $1 =~ ^[0-9]+(\.[0-9]+)?(us|ms|s)$ && ! $1 =~ ^[0.]+[a-z] ]] || misuse "--delay $1: as in 2ms or 100us, above 0"; }

require_rate() { [[ $1 =~ ^[0-9]+(\.[0-9]+)?(bit|kbit|mbit|gbit)$ ]] || misuse "rate $1: as in 100mbit or 1gbit"; }

# --- commands ----------------------------------------------------------------------------------------------------------

up() {
  local cpu_list="" rate_list=1gbit
  delay=0 delay_by="" memory_mib=""
  while [[ $# -gt 0 ]]; do
    case $1 in
      --cpus) cpu_list=${2:?} && shift 2 ;;
      --rate) rate_list=${2:?} && shift 2 ;;
      --delay) delay=${2:?} && require_delay "$delay" && shift 2 ;;
      --memory) memory_mib=${2:?} && require_memory "$memory_mib" && shift 2 ;;
      *) misuse "up $1: not an option; see --help" ;;
    esac
  done
  [[ -n $cpu_list ]] || misuse "up: --cpus is missing, as in --cpus 50,50,33,55"
  IFS=, read -r -a cpus <<<"$cpu_list"
  IFS=, read -r -a rates <<<"$rate_list"
  [[ -n $memory_mib ]] || memory_mib=$(share_of_memory)
  local node sum=0
  if [[ ${#rates[@]} == 1 ]]; then
    for node in "${!cpus[@]}"; do rates[node]=${rates[0]}; done
  fi
  [[ ${#rates[@]} == "${#cpus[@]}" ]] || misuse "--rate $rate_list: one rate for all, or one for each of ${#cpus[@]} nodes"
  [[ ${#cpus[@]} -le 250 ]] || misuse "--cpus: at most 250 nodes"
  for node in "${!cpus[@]}"; do
    require_percent "${cpus[node]}"
    require_rate "${rates[node]}"
    sum=$(awk -v a="$sum" -v b="${cpus[node]}" 'BEGIN { print a + b }')
  done
  awk -v s="$sum" -v n="$(nproc)" 'BEGIN { exit !(s > 95 * n) }' &&
    echo "cluster: the shares add up to $sum %, more than 95 % of $(nproc) cores: nodes will disturb each other" >&2
  [[ $delay == 0 ]] || choose_delay_by
  mkdir -p /run/lshdp-cluster
  mkdir "$(state_folder)" 2>/dev/null || die "cluster $name is up already, or was left by a crash: scripts/cluster.sh --name $name down"
  trap 'echo "cluster: up failed; removing what was made" >&2; down' ERR
  ip netns add "$name-sw"
  ip -n "$name-sw" link add name br0 type bridge nf_call_iptables 0 nf_call_ip6tables 0 nf_call_arptables 0
  ip -n "$name-sw" link set br0 up
  make_cgroups
  echo "127.0.0.1 localhost" >"$(state_folder)/hosts"
  for node in "${!cpus[@]}"; do
    make_node "$node"
    shape_node "$node" "${rates[node]}"
    set_share "$node" "${cpus[node]}"
    mkdir -p "$(state_folder)/tmp/node$node"
    echo "$prefix.$((node + 1)) node$node" >>"$(state_folder)/hosts"
    [[ $delay_by != relay ]] || start_relay "$node"
  done
  write_agent
  save_state
  trap - ERR
}

# What mpirun calls in place of ssh: AGENT HOST COMMAND..
write_agent() {
  local agent self
  agent=$(state_folder)/agent
  self=$(readlink -f "${BASH_SOURCE[0]}")
  printf '#!/bin/bash\nhost=$1\nshift\nexec %q --name %q exec "${host#node}" bash -c "$*"\n' "$self" "$name" >"$agent"
  chmod +x "$agent"
}

# enter NODE COMMAND..: becomes the command, in the node's control group, network, host name and temporary folder.
enter() {
  local node=$1 folder
  shift
  folder=$(state_folder)
  echo $$ >"$(cgroup_of "$node")/cgroup.procs"
  [[ $cgroup_version == 2 ]] || echo $$ >"$(memory_cgroup_of "$node")/cgroup.procs"
  export TMPDIR=$folder/tmp/node$node GLOO_SOCKET_IFNAME=eth0
  exec nsenter --net="/run/netns/$name-n$node" -- unshare --uts --mount -- bash -c \
    'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"' enter "node$node" "$folder/hosts" "$@"
}

exec_command() {
  load_state
  [[ $# -ge 2 ]] || misuse "exec: a node and a command"
  require_node "$1"
  enter "$@"
}

run_command() {
  load_state
  local nodes=("${!cpus[@]}") node hosts=""
  if [[ ${1:-} == --nodes ]]; then
    IFS=, read -r -a nodes <<<"${2:?}"
    shift 2
  fi
  [[ $# -ge 1 ]] || misuse "run: a command"
  for node in "${nodes[@]}"; do
    require_node "$node"
    hosts+=,node$node:1
  done
  local root=()
  [[ $(id -u) == 0 ]] && root=(--allow-run-as-root)
  # mpirun itself idles on the first node.
  enter "${nodes[0]}" env OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" mpirun "${root[@]}" --host "${hosts#,}" \
    --map-by node --bind-to none \
    --mca plm_rsh_agent "$(state_folder)/agent" --mca plm_rsh_no_tree_spawn 1 \
    --mca btl tcp,self --mca pml ob1 --mca btl_tcp_if_include "$prefix.0/24" --mca oob_tcp_if_include "$prefix.0/24" \
    -x OMP_NUM_THREADS -x GLOO_SOCKET_IFNAME "$@"
}

set_command() {
  load_state
  local node=${1:-}
  require_node "$node"
  shift
  [[ $# -gt 0 ]] || misuse "set $node: --cpu P or --rate R"
  while [[ $# -gt 0 ]]; do
    case $1 in
      --cpu) require_percent "${2:?}" && set_share "$node" "$2" && cpus[node]=$2 ;;
      --rate) require_rate "${2:?}" && shape_node "$node" "$2" && rates[node]=$2 ;;
      *) misuse "set $1: not an option; see --help" ;;
    esac
    shift 2
  done
  save_state
}

rate_command() {
  load_state
  require_rate "${1:-}"
  local node
  for node in "${!cpus[@]}"; do
    shape_node "$node" "$1"
    rates[node]=$1
  done
  save_state
}

# What a small packet takes from node 0 to node 1, half of the way there and back.
check_delay() {
  [[ ${#cpus[@]} -gt 1 ]] || return 0
  local self=(bash "${BASH_SOURCE[0]}" --name "$name") measured
  "${self[@]}" exec 1 python3 -c '
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 5202))
server.settimeout(3)
try:
    while True: server.sendto(*server.recvfrom(64))
except TimeoutError:
    pass' &
  measured=$("${self[@]}" exec 0 python3 -c '
import socket, statistics, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect((sys.argv[1], 5202))
client.settimeout(1)
seconds = []
for _ in range(100):
    begun = time.perf_counter()
    try:
        client.send(b"x")
        client.recv(64)
        seconds.append(time.perf_counter() - begun)
    except OSError:
        time.sleep(0.1)  # nobody listens yet
    if len(seconds) == 50:
        break
else:
    sys.exit("no answer from node 1")
print(round(1e3 * statistics.median(seconds) / 2, 3))' "$prefix.2")
  wait
  printf 'delay                %9s %8s ms\n' "$delay" "$measured"
}

# Bandwidth from each node to the next, one at a time; then all nodes spin at the same time.
check() {
  load_state
  command -v iperf3 >/dev/null || die "check: iperf3 is missing: apt-get install -y iperf3"
  local self node next measured folder
  self=(bash "${BASH_SOURCE[0]}" --name "$name")
  folder=$(state_folder)
  [[ $delay == 0 ]] || check_delay
  echo "link                 asked      measured"
  for node in "${!cpus[@]}"; do
    [[ ${#cpus[@]} -gt 1 ]] || break
    next=$(((node + 1) % ${#cpus[@]}))
    "${self[@]}" exec "$next" iperf3 --server --one-off >/dev/null 2>&1 &
    sleep 0.5
    measured=$("${self[@]}" exec "$node" iperf3 --client "$prefix.$((next + 1))" --time 2 --json |
      python3 -c 'import json, sys; print(round(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 1e6))')
    wait
    printf 'node%-3s -> node%-3s %9s %8s Mb/s\n' "$node" "$next" "${rates[node]}" "$measured"
  done
  for node in "${!cpus[@]}"; do
    "${self[@]}" exec "$node" python3 -c '
import time
begun, used = time.perf_counter(), time.process_time()
while time.perf_counter() < begun + 3: pass
print(round(100 * (time.process_time() - used) / (time.perf_counter() - begun), 1))' >"$folder/tmp/share$node" &
  done
  wait
  echo "node                 asked      measured"
  for node in "${!cpus[@]}"; do
    printf 'node%-3s            %9s %8s %% of a core\n' "$node" "${cpus[node]}" "$(cat "$folder/tmp/share$node")"
  done
}

status() {
  local folder
  if [[ ! -e $(state_folder)/state ]]; then
    echo "cluster $name is not up"
    return
  fi
  load_state
  folder=$(state_folder)
  echo "cluster $name: ${#cpus[@]} nodes of $memory_mib MiB, delay $delay${delay_by:+ by $delay_by}"
  local node
  for node in "${!cpus[@]}"; do
    printf 'node%-3s %-12s cpu %5s %%  link %9s  %s processes\n' "$node" "$prefix.$((node + 1))" "${cpus[node]}" \
      "${rates[node]}" "$(wc -l <"$(cgroup_of "$node")/cgroup.procs")"
  done
}

down() {
  remove_cgroups
  local namespace
  for namespace in $(ip netns list | awk '{ print $1 }' | grep -E "^$name-(sw|try|n[0-9]+)\$" || true); do
    ip netns del "$namespace"
  done
  rm -rf "$(state_folder)"
}

if [[ ${1:-} == --name ]]; then
  set_name "${2:?}"
  shift 2
fi
command=${1:-}
[[ $# -gt 0 ]] && shift
for argument in "$command" "${1:-}"; do
  if [[ $argument == --help || $argument == -h ]]; then
    usage
    exit 0
  fi
done
case $command in
  up | exec | run | set | rate | check | status | down) ;;
  *)
    usage >&2
    exit 2
    ;;
esac
[[ $(id -u) == 0 ]] || die "namespaces and control groups need root: run it as root"
for tool in ip tc nsenter unshare; do
  command -v $tool >/dev/null || die "$tool is missing: apt-get install -y iproute2 util-linux"
done
case $command in
  exec) exec_command "$@" ;;
  run) run_command "$@" ;;
  set) set_command "$@" ;;
  rate) rate_command "$@" ;;
  *) $command "$@" ;;
esac
