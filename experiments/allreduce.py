# All-reduces alone on an emulated cluster (benchmarks/allreduce): share of the measured link, CPU time, what a computation loses.
import argparse
import csv
import json
import re
import statistics
import sys

from experiments import cells, command, machines, tables
from experiments.commentary import verdict
from experiments.definitions import Cluster
from experiments.machines import ROOT, CommandFailed

PROGRAM = ROOT / "build/benchmarks/allreduce"
NAMES = {"exact": "lshdp", "mpi": "MPI_Allreduce", "beside": "lshdp beside a computation"}
# What is required of lshdp: shares of the floor, CPU-seconds a GB sent.
ALONE, BESIDE, CPU_PER_GB = 0.95, 0.70, 1.2
TIMEOUT = 1200


# --- running -------------------------------------------------------------------------------------------------------------

def link_rate(text):
    """Bytes per second of the slowest link, from what `cluster.sh check` prints."""
    rates = [int(rate) for rate in re.findall(r"^node.*->.* (\d+) Mb/s$", text, re.MULTILINE)]
    if not rates:
        raise CommandFailed("scripts/cluster.sh check told no link rate", 1)
    return min(rates) * 1e6 / 8


def measure_links(machine, work):
    log = work / "logs/check.log"
    machines.run([*machine.base, "check"], log, 300)
    return link_rate(log.read_text())


def measure_all_reduces(machine, work, nodes, options):
    """The figures of benchmarks/allreduce on the first `nodes` nodes."""
    out = work / f"{nodes}-nodes.json"
    machines.run([*machine.base, "run", "--nodes", ",".join(map(str, range(nodes))), str(PROGRAM), "--algorithms", "exact,mpi,beside",
                  "--sizes", options.sizes, "--repetitions", str(options.repetitions), "--json", str(out)],
                 work / f"logs/{nodes}-nodes.log", TIMEOUT)
    return json.loads(out.read_text())["rows"]


def run(options, cluster, folder):
    """A record for each number of nodes that has none yet, with the link's rate measured before and after it."""
    records, work = cells.Records(folder / "raw", machines.made()), folder / "work"
    settings = {"cpus": list(cluster.cpus), "rates": list(cluster.rates), "sizes": options.sizes, "repetitions": options.repetitions}
    for record in records.all():
        if record.get("settings") not in (None, settings):
            raise CommandFailed(f"{folder}: measured with other settings; begin anew with --restart, or give another --results", 2)
    missing = [nodes for nodes in options.nodes if not records.is_done(f"{nodes}-nodes")]
    if not missing:
        return
    with machines.exclusive(options.cluster), machines.EmulatedCluster(options.cluster, cluster, work / "logs") as machine:
        for nodes in missing:
            print(f"{nodes} nodes", flush=True)
            rates = [measure_links(machine, work)]
            rows = measure_all_reduces(machine, work, nodes, options)
            rates.append(measure_links(machine, work))
            records.write(f"{nodes}-nodes", cells.DONE, nodes=nodes, settings=settings, link_bytes_per_second=rates, rows=rows)


# --- report --------------------------------------------------------------------------------------------------------------

def worst_of(losses):
    """The figures of the rank whose computation loses most beyond what the transfer needs."""
    def beyond(loss):
        return loss["compute_lost"] - loss["needed_share"]

    worst = max(losses, key=beyond)
    return {**worst, "lost_beyond_need": beyond(worst)}


def figures_of(records):
    """One dictionary for each all-reduce that was timed."""
    found = []
    for record in sorted((r for r in records.all() if r["status"] == cells.DONE), key=lambda r: r["nodes"]):
        rate = statistics.fmean(record["link_bytes_per_second"])
        for row in record["rows"]:
            floor = row["bytes_sent"] / rate
            if row["algorithm"] == "beside":
                if not all("needed_share" in loss for loss in row.get("losses", [{}])):
                    raise CommandFailed(f"{record['name']}: measured before a transfer's need was told by rank; begin anew with --restart", 2)
                row = {**row, **worst_of(row["losses"])}
            found.append({"nodes": record["nodes"], "link_bytes_per_second": rate, **row, "floor_seconds": floor,
                          "share_of_floor": floor / row["seconds"], "cpu_seconds_per_gb": row["cpu_seconds"] / row["bytes_sent"] * 1e9})
    return found


def table(figures):
    lines = []
    for f in figures:
        compute = f"{100 * f['compute_lost']:.0f} %" if "compute_lost" in f else "-"
        need = f"{100 * f['needed_share']:.0f} %" if "needed_share" in f else "-"
        lines.append([NAMES.get(f["algorithm"], f["algorithm"]), f["nodes"], f"{f['bytes'] / 1e6:.0f}", tables.number(f["floor_seconds"]),
                      tables.number(f["seconds"]), f"{100 * f['share_of_floor']:.1f} %", tables.number(f["cpu_seconds_per_gb"], 2), compute, need])
    return tables.markdown(["", "nodes", "MB", "link floor s", "s", "share of the floor", "CPU-s per GB sent", "computation loses",
                            "transfer needs"], lines)


def sentences(figures):
    def of(algorithm):
        return [f for f in figures if f["algorithm"] == algorithm]

    def at(figure):
        return f"{figure['nodes']} nodes, {figure['bytes'] / 1e6:.0f} MB"

    def judged(figure, key, bound, at_least):
        return f"({at(figure)}){verdict(figure[key], bound, at_least)}"

    lines = []
    if of("exact"):
        slow, dear = min(of("exact"), key=lambda f: f["share_of_floor"]), max(of("exact"), key=lambda f: f["cpu_seconds_per_gb"])
        lines.append(f"Alone, lshdp reaches {slow['share_of_floor']:.3f} of the floor at worst {judged(slow, 'share_of_floor', ALONE, True)} and "
                     f"takes {dear['cpu_seconds_per_gb']:.2f} CPU-seconds a GB sent at most {judged(dear, 'cpu_seconds_per_gb', CPU_PER_GB, False)}.")
    for mpi in of("mpi"):
        ours = next((f for f in of("exact") if (f["nodes"], f["bytes"]) == (mpi["nodes"], mpi["bytes"])), None)
        if ours:
            lines.append(f"{at(mpi)}: MPI_Allreduce takes {mpi['seconds'] / ours['seconds']:.2f} times as long and "
                         f"{mpi['cpu_seconds'] / ours['cpu_seconds']:.1f} times the CPU time.")
    if of("beside"):
        slow = min(of("beside"), key=lambda f: f["share_of_floor"])
        beyond = max(of("beside"), key=lambda f: f["lost_beyond_need"])
        lines.append(f"Beside a computation it reaches {slow['share_of_floor']:.3f} of the floor at worst "
                     f"{judged(slow, 'share_of_floor', BESIDE, True)}.")
        lines.append(f"What a node's computation loses, less the share of the node's CPU time that the same transfer needs without a computation beside "
                     f"it, is {100 * beyond['lost_beyond_need']:.1f} points at most {judged(beyond, 'lost_beyond_need', 0, False)}: it loses "
                     f"{100 * beyond['compute_lost']:.0f} %, the transfer needs {100 * beyond['needed_share']:.0f} % with the kernel's interrupts. "
                     f"Of the process's CPU time {100 * beyond['engine_share']:.0f} % goes to the transfer's threads; it gets "
                     f"{100 * beyond['cpu_missed']:.1f} % less of it a second than when it computes alone, and the computation is "
                     f"{100 * beyond['slowed']:.1f} % slower in its own: the kernel charges interrupts to whomever they interrupt.")
    return lines


def write_csv(figures, path):
    columns = ["nodes", "algorithm", "bytes", "link_bytes_per_second", "floor_seconds", "seconds", "share_of_floor", "cpu_seconds_per_gb",
               "compute_lost", "needed_share", "lost_beyond_need", "engine_share", "cpu_missed", "slowed"]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for figure in figures:
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in (figure.get(column, "") for column in columns)])


def write_report(folder):
    records = cells.Records(folder / "raw")
    figures = figures_of(records)
    if not figures:
        print(f"allreduce: {folder}: no figures are there yet", file=sys.stderr)
        return
    first = next(r for r in records.all() if r["status"] == cells.DONE)
    settings = first["settings"]
    rates = [rate for r in records.all() if r["status"] == cells.DONE for rate in r["link_bytes_per_second"]]
    parts = ["# All-reduce alone and beside a computation",
             f"Made by `experiments/allreduce.sh` at {first['made']['revision']} on {first['made']['machine']}: nodes at "
             f"{', '.join(f'{cpu:g}' for cpu in settings['cpus'])} % of a core (of which as many take part as the table says), one rank each, "
             f"links of {', '.join(settings['rates'])}. The floor is 2(N-1)/N x bytes / link rate; the rate is iperf3's over the slowest link, measured "
             f"in the same run before and after ({min(rates) / 1e6:.1f} to {max(rates) / 1e6:.1f} MB/s). "
             "Times are medians, of the slowest rank; CPU-seconds are those of the thread that calls and of lshdp's engine, mean of the ranks. What a transfer "
             "needs is told by the machine's idle time while nothing computes, in parts of the CPU time that a computing node gets. What a computation "
             "loses and a transfer needs are medians of nine rounds of computing alone, transferring alone and both.",
             "\n".join(f"- {line}" for line in sentences(figures)), table(figures)]
    (folder / "allreduce.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_csv(figures, folder / "allreduce.csv")
    print(folder / "allreduce.md", flush=True)


# --- command -------------------------------------------------------------------------------------------------------------

def numbers(text):
    return tuple(int(part) for part in text.split(","))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="experiments/allreduce.sh", description="Times all-reduces on an emulated cluster.",
                                     epilog="Finished numbers of nodes are kept: started again, it goes on where it was.")
    parser.add_argument("--cpus", type=numbers, default=(45, 45, 45, 45), help="percent of a core, by node (default: 45,45,45,45)")
    parser.add_argument("--nodes", type=numbers, default=(2, 3, 4), help="numbers of nodes (default: 2,3,4)")
    parser.add_argument("--rate", default="1gbit", help="of the links (default: 1gbit)")
    parser.add_argument("--sizes", default="16MB,64MB,256MB", help="default: 16MB,64MB,256MB")
    parser.add_argument("--repetitions", type=int, default=5, help="timed runs of each (default: 5)")
    command.add_result_options(parser, "allreduce")
    return parser.parse_args()


def measure_and_report(options):
    folder = command.folder_of(options, "allreduce")
    if not options.report_only:
        command.require_built(PROGRAM)
        if max(options.nodes) > len(options.cpus) or min(options.nodes) < 2:
            raise CommandFailed(f"--nodes: from 2 to {len(options.cpus)}, as many as --cpus names", 2)
        run(options, Cluster("allreduce", options.cpus, (options.rate,), nodes=len(options.cpus)), folder)
    write_report(folder)


def main():
    options = parse_arguments()
    return command.exit_code_of("allreduce", lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
