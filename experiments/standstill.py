# Breaks one rank of a small training run on an emulated cluster, in many ways: seconds until it is named, and until the run ends.
import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

from experiments import cells, command, standstill_kinds, machines
from experiments.definitions import Cluster
from experiments.standstill_report import write_report
from experiments.machines import ROOT, CommandFailed

LSHDP = ROOT / "build/lshdp"
STEPS_BEFORE = 3  # the run is under way
START_SECONDS = 120  # that starting and these steps may take
SPREAD_SECONDS = 6  # the fault comes at a random instant of so many
MODEL = """{"type": "vit", "image_size": 32, "channels": 3, "patch_size": 4, "num_layers": 4, "num_heads": 4,
 "hidden_dim": 96, "mlp_dim": 384, "num_classes": 10}
"""


# --- what was said -----------------------------------------------------------------------------------------------------

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Speech:
    """Lines of the ranks' own output files and of mpirun, with the seconds at which they were first seen."""

    def __init__(self, folder, launcher):
        self.files = {}
        self.folder, self.launcher = folder, launcher
        self.lines = []

    def sources(self):
        yield "mpirun", self.launcher
        for path in sorted(self.folder.glob("*/rank.*/std*")):
            yield path.parent.name.replace(".", " "), path

    def look(self, now):
        for who, path in self.sources():
            if not path.exists():
                continue
            begin = self.files.get(path, 0)
            with open(path, "rb") as file:
                file.seek(begin)
                text = file.read()
            whole = text.rfind(b"\n") + 1
            self.files[path] = begin + whole
            for line in text[:whole].decode(errors="replace").splitlines():
                plain = COLOURS.sub("", line).strip()
                if plain:
                    self.lines.append((now, who, plain))


def names(line, rank):
    """Whether a line says which rank is broken: our words, or mpirun's."""
    if "last known of its ranks" in line:  # all of them
        return False
    return bool(re.search(rf"rank {rank} \(node{rank}\)|process rank {rank} with PID", line))


def tells_work(line, rank):
    """Whether it says what the rank was doing."""
    return bool(re.search(rf"rank {rank} \(node{rank}\).* of step \d+", line))


# --- a trial -----------------------------------------------------------------------------------------------------------

def steps_done(results):
    with contextlib.suppress(OSError):
        return (results / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").count('"record":"step"')
    return 0


class Trial:
    """One run on a cluster of its own, broken once. Whatever happens, nothing of it is left."""

    def __init__(self, options, folder, kind, number):
        self.options, self.kind = options, kind
        self.name = f"{kind.name}-{number}"
        self.random = random.Random(f"{options.seed} {self.name}")
        self.rank = self.random.randrange(kind.first_rank, len(options.cpus))
        self.work = folder / "work" / self.name
        self.site = standstill_kinds.Site(options.cluster, self.rank, self.work, len(options.cpus), folder / "work" / "data.h5")
        self.process = None

    def run(self):
        subprocess.run(["rm", "-rf", str(self.work)], check=True, timeout=60)
        self.work.mkdir(parents=True)
        cluster = machines.EmulatedCluster(self.options.cluster, Cluster("standstill", self.options.cpus, ("1gbit",)), self.work)
        # The hard limit: what still hangs is killed, and then everything of the cluster is.
        guard = threading.Timer(self.limit(), self.kill_launcher)
        with cluster, contextlib.ExitStack() as leave:
            self.kind.prepare(self.site, leave)
            guard.start()
            leave.callback(guard.cancel)
            leave.callback(self.kill_launcher)
            return self.measure(cluster)

    def limit(self):
        return START_SECONDS + SPREAD_SECONDS + self.wait_limit() + 30

    def wait_limit(self):
        """Seconds after the fault that a trial may take."""
        return self.options.standstill + self.options.operation_limit + 60

    def kill_launcher(self):
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def start(self, cluster):
        model, data = self.work / "model.json", self.site.data
        model.write_text(MODEL)
        results = self.work / "run"
        launch = cluster.launch([*self.kind.mpirun, "--output-filename", self.work / "ranks", LSHDP, "train", "--model", model, "--data", data,
                                 "--batches", "equal", "--total", 8 * len(self.options.cpus), "--steps", 1_000_000, "--threads", 1,
                                 "--checkpoint-every", 10, "--standstill", self.options.standstill,
                                 "--operation-limit", self.options.operation_limit, "--results", results])
        launch = [str(part) for part in launch]
        with open(self.work / "launcher.log", "wb") as log:
            self.process = subprocess.Popen(launch, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                                            start_new_session=True, env={**os.environ, **cluster.environment})
        return results

    def wait_until_under_way(self, results):
        until = time.monotonic() + START_SECONDS
        while steps_done(results) < STEPS_BEFORE:
            if self.process.poll() is not None:
                raise CommandFailed(f"{self.name}: the run ended before it was broken; see {self.work}/launcher.log", 1)
            if time.monotonic() > until:
                raise CommandFailed(f"{self.name}: no {STEPS_BEFORE} steps within {START_SECONDS} s; see {self.work}/launcher.log", 1)
            time.sleep(0.05)
        time.sleep(self.random.uniform(0, SPREAD_SECONDS))

    def measure(self, cluster):
        results = self.start(cluster)
        if self.kind.in_mid_run:
            self.wait_until_under_way(results)
        speech = Speech(self.work / "ranks", self.work / "launcher.log")
        speech.look(0)
        speech.lines.clear()
        pids = standstill_kinds.ranks_of(self.options.cluster, len(self.options.cpus)) if self.kind.in_mid_run else {}
        steps = steps_done(results)
        begun = time.monotonic()
        if self.kind.in_mid_run:
            self.kind.strike(self.site, pids)
        ends = {}
        while time.monotonic() < begun + self.wait_limit():
            now = time.monotonic() - begun
            speech.look(now)
            self.note_ends(pids, ends, now)
            # A rank or a launcher that is cut off may stay alone.
            if ("mpirun" in ends or not self.kind.launcher_ends) and all(rank in ends for rank in pids):
                break
            if self.kind.launcher_ends and "mpirun" in ends and not pids:
                break
            time.sleep(0.05)
        speech.look(time.monotonic() - begun)
        return self.record(speech, ends, pids, steps)

    def note_ends(self, pids, ends, now):
        if self.process.poll() is not None:
            ends.setdefault("mpirun", now)
        for rank, pid in pids.items():
            if not standstill_kinds.is_alive(pid):
                ends.setdefault(rank, now)

    def record(self, speech, ends, pids, steps):
        naming = [(now, who, line) for now, who, line in speech.lines if names(line, self.rank)]
        working = [entry for entry in speech.lines if tells_work(entry[2], self.rank)]
        by_rank = {}
        for now, who, _ in naming:
            by_rank.setdefault(who, now)
        (self.work / "said.txt").write_text("".join(f"{now:8.2f} {who}: {line}\n" for now, who, line in speech.lines), encoding="utf-8")
        return {"kind": self.kind.name, "rank": self.rank, "step": steps,
                "named_seconds": naming[0][0] if naming else None, "told_work_seconds": max(working[0][0], naming[0][0]) if working and naming else None,
                "named_by": by_rank, "said": [list(entry) for entry in (working or naming)[:1] + naming[-1:]],
                "rank_end_seconds": max((ends[rank] for rank in pids if rank in ends), default=None) if all(r in ends for r in pids) else None,
                "left": [rank for rank in pids if rank not in ends], "mpirun_end_seconds": ends.get("mpirun"),
                "exit_code": self.process.poll()}


# --- command -----------------------------------------------------------------------------------------------------------

class Standstills:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.records = cells.Records(folder / "raw")

    def run(self):
        standstill_kinds.make_data(self.folder / "work", LSHDP)
        for number in range(1, self.options.times + 1):  # in turn, so that a busy hour falls on all kinds alike
            for kind in standstill_kinds.KINDS:
                if kind.name in self.options.kinds and not self.records.is_done(f"{kind.name}-{number}"):
                    self.run_trial(kind, number)

    def run_trial(self, kind, number):
        trial, begun = Trial(self.options, self.folder, kind, number), time.monotonic()
        record = trial.run()
        self.records.write(trial.name, cells.DONE, time.monotonic() - begun, made=machines.made(),
                           settings={"standstill": self.options.standstill, "operation_limit": self.options.operation_limit,
                                     "cpus": list(self.options.cpus)}, **record)
        said = record["said"][0][2] if record["said"] else "nothing"
        print(f"{trial.name}: rank {trial.rank} named after {record['named_seconds']}, ranks ended after {record['rank_end_seconds']}, "
              f"mpirun after {record['mpirun_end_seconds']} ({record['exit_code']}): {said}", flush=True)


def numbers(text):
    return tuple(int(part) for part in text.split(","))


def parse_arguments():
    known = [kind.name for kind in standstill_kinds.KINDS]
    parser = argparse.ArgumentParser(prog="experiments/standstill.sh", description="Breaks ranks of a training run on an emulated cluster.",
                                     epilog="Finished trials are kept: started again, it goes on where it was.")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=known, help=f"default: {','.join(known)}")
    parser.add_argument("--times", type=int, default=10, help="trials of each kind (default: 10)")
    parser.add_argument("--cpus", type=numbers, default=(45, 45, 45), help="percent of a core, by node (default: 45,45,45)")
    parser.add_argument("--standstill", type=float, default=10, help="as of train (default: 10)")
    parser.add_argument("--operation-limit", type=float, default=20, help="as of train (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of ranks and instants (default: 1)")
    command.add_result_options(parser, "standstill")
    options = parser.parse_args()
    for kind in options.kinds:
        if kind not in known:
            parser.error(f"--kinds: {kind} is none of {', '.join(known)}")
    if len(options.cpus) < 3:
        parser.error("--cpus: at least three nodes")
    return options


def measure_and_report(options):
    folder = command.folder_of(options, "standstill")
    if not options.report_only:
        command.require_built(LSHDP)
        with machines.exclusive(options.cluster):
            Standstills(options, folder).run()
    write_report(folder)


def main():
    options = parse_arguments()
    return command.exit_code_of("standstill", lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
