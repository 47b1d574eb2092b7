# Bytes that a step of each mode sends, by the kernel's counters of each emulated node's interface.
import argparse
import dataclasses
import json
import subprocess
import sys

from experiments import cells, command, machines, tables
from experiments.commentary import verdict
from experiments.definitions import Cluster
from experiments.machines import CommandFailed
from experiments.runner import LSHDP

MODEL = {"type": "vit", "image_size": 32, "channels": 3, "patch_size": 8, "num_layers": 12, "num_heads": 6, "hidden_dim": 384,
         "mlp_dim": 1536, "num_classes": 10}
LLAMA = {"type": "llama", "num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6,
         "num_key_value_heads": 6, "max_position_embeddings": 64, "vocab_size": 256}
LORA = "r=64,alpha=64,targets=all-linear"


@dataclasses.dataclass(frozen=True)
class Case:
    """`crossings`: how often the gradients' bytes cross the network in a step, each time (N-1)/N of them."""
    mode: str
    crossings: int
    lora: bool = False


CASES = {"ddp": Case("ddp", 2), "fsdp": Case("fsdp", 3), "lsdp": Case("lsdp", 2),
         "lora-ddp": Case("ddp", 2, lora=True), "lora-lsdp": Case("lsdp", 2, lora=True)}
STEPS = (4, 12)  # two runs: what begin and end of a run send falls out of the difference
HEADERS = 14 + 20 + 32  # bytes of Ethernet, IP and TCP before the payload of each packet
MOST_OFF = 0.03
TIMEOUT = 600


# --- running -------------------------------------------------------------------------------------------------------------

def sent_by(machine, node):
    """Payload bytes that the node has sent since it is up."""
    folder = "/sys/class/net/eth0/statistics"
    # The counters of the node's own network are under a sysfs that is mounted in it.
    script = f"mount -t sysfs none /sys && cat {folder}/tx_bytes {folder}/tx_packets"
    done = subprocess.run([*machine.base, "exec", str(node), "bash", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"node {node}: {done.stderr.strip() or 'no counters'}", 1)
    sent, packets = map(int, done.stdout.split())
    return sent - HEADERS * packets


def gradient_bytes(run, case):
    """As many as the fp32 values that the run trained, which the header of their file tells."""
    with open(run / ("adapter_model.safetensors" if case.lora else "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(end - begin for begin, end in (tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"))


def run_folder(work, name, steps):
    return work / f"runs/{name}-{steps}"


def train(machine, work, name, steps):
    """Payload bytes of each node in a run of so many steps."""
    case, nodes = CASES[name], range(len(machine.cluster.cpus))
    model, data = (work / f"{'llama' if case.lora else 'model'}.json"), work / ("tokens.h5" if case.lora else "data.h5")
    before = [sent_by(machine, node) for node in nodes]
    machines.run([*machine.base, "run", str(LSHDP), "train", "--model", str(model), "--mode", case.mode, "--data", str(data), "--batches",
                  "2,2,1,5", "--steps", str(steps), "--threads", "1", *(["--lora", LORA] if case.lora else []),
                  "--results", str(run_folder(work, name, steps)), "--overwrite"],
                 work / f"logs/{name}-{steps}.log", TIMEOUT)
    return [sent_by(machine, node) - sent for node, sent in zip(nodes, before)]


def prepare(work):
    cells.write_json(work / "model.json", MODEL)
    cells.write_json(work / "llama.json", LLAMA)
    for name, made in (("data.h5", ["synthetic-images", "--count", "256", "--size", "32", "--channels", "3", "--classes", "10"]),
                       ("tokens.h5", ["synthetic-tokens", "--count", "20000"])):
        if not (work / name).exists():
            machines.run([str(LSHDP), "data", *made, "--out", str(work / name)], work / "logs/data.log", TIMEOUT)


def run(options, cluster, folder):
    records, work = cells.Records(folder / "raw", machines.made()), folder / "work"
    missing = [name for name in CASES if not records.is_done(name)]
    if not missing:
        return
    prepare(work)
    with machines.exclusive(options.cluster), machines.EmulatedCluster(options.cluster, cluster, work / "logs") as machine:
        for name in missing:
            print(name, flush=True)
            few, many = (train(machine, work, name, steps) for steps in STEPS)
            per_step = [(b - a) / (STEPS[1] - STEPS[0]) for a, b in zip(few, many)]
            gradients = gradient_bytes(run_folder(work, name, STEPS[0]), CASES[name])
            records.write(name, cells.DONE, mode=name, gradient_bytes=gradients, bytes_per_step=per_step)


# --- report --------------------------------------------------------------------------------------------------------------

def rows_of(records):
    rows = []
    for name, case in CASES.items():
        record = records.read(name)
        if not record:
            continue
        nodes = len(record["bytes_per_step"])
        gradients = record["gradient_bytes"]
        expected = case.crossings * (nodes - 1) / nodes * gradients
        rows.append({"name": name, "case": case, "gradients": gradients, "expected": expected, "nodes": record["bytes_per_step"],
                     "made": f"{record['made']['revision']} on {record['made']['machine']}",
                     "off": max(abs(sent / expected - 1) for sent in record["bytes_per_step"])})
    return rows


def write_report(folder):
    rows = rows_of(cells.Records(folder / "raw"))
    if not rows:
        print(f"interface_bytes: {folder}: no figures are there yet", file=sys.stderr)
        return
    made = ", ".join(dict.fromkeys(row["made"] for row in rows))
    lines = [f"{row['name']}: {row['case'].crossings}(N-1)/N of the {'adapters' if row['case'].lora else 'gradients'}' "
             f"{row['gradients'] / 1e6:.1f} MB, off by {100 * row['off']:.1f} % on the worst node{verdict(row['off'], MOST_OFF, False)}."
             for row in rows]
    table = tables.markdown(["mode", "expected MB", *[f"node {node}" for node in range(len(rows[0]["nodes"]))]],
                            [[row["name"], f"{row['expected'] / 1e6:.2f}", *[f"{sent / 1e6:.2f}" for sent in row["nodes"]]] for row in rows])
    parts = ["# Bytes sent in a step, by the kernel's counters",
             f"Made by `experiments/interface_bytes.sh` at {made}. A ViT of 21 M parameters, and a Llama of 14 M of which adapters "
             f"({LORA}) alone are trained; fp32, exact, one rank a node; what the interface of each node sent in {STEPS[1]} steps less what it "
             f"sent in {STEPS[0]}, less {HEADERS} bytes of headers a packet. Shards are equal, whatever the batches.",
             "\n".join(f"- {line}" for line in lines), table]
    (folder / "interface_bytes.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(folder / "interface_bytes.md", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="experiments/interface_bytes.sh", description="Counts what a step of each mode sends, and of adapters.",
                                     epilog="Finished modes are kept: started again, it goes on where it was.")
    parser.add_argument("--cpus", type=lambda text: tuple(map(int, text.split(","))), default=(35, 35, 25, 95),
                        help="percent of a core, by node (default: 35,35,25,95)")
    command.add_result_options(parser, "interface_bytes")
    return parser.parse_args()


def measure_and_report(options):
    folder = command.folder_of(options, "interface_bytes")
    if not options.report_only:
        command.require_built(LSHDP)
        run(options, Cluster("interface_bytes", options.cpus, nodes=len(options.cpus)), folder)
    write_report(folder)


def main():
    options = parse_arguments()
    return command.exit_code_of("interface_bytes", lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
