# Runs the cells of a definition that are not done yet: profile, plan, then lshdp and PyTorch in alternation.
import functools
import json
import sys
import time

from experiments import cells, definitions, machines, timeline
from experiments.baselines.stolen_time import StolenTime
from experiments.cells import DONE, FAILED, NOT_MEASURABLE, REFUSED
from experiments.disturbance import ATTEMPTS, MOST_STOLEN, least_disturbed
from experiments.machines import ROOT, CommandFailed

LSHDP = ROOT / "build/lshdp"
PYTHON = ROOT / ".venv/bin/python"
SAMPLES = 4096
TRACED_STEPS = 6


def status_of(error):
    """Exit code 2: the program does not do this (yet)."""
    return REFUSED if error.code == 2 else FAILED


def as_failure(error):
    """Of a run that ended well but left no results, too."""
    return error if isinstance(error, CommandFailed) else CommandFailed(f"the run's results cannot be read: {error}", 1)


def minutes(seconds):
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class Runner:
    """One definition, one results folder."""

    def __init__(self, definition, folder, cluster_name, hosts=None, device="auto"):
        self.definition, self.folder = definition, folder
        self.cluster_name, self.hosts, self.device = cluster_name, hosts, device
        self.records = cells.Records(folder / "raw", machines.made())
        self.work = folder / "work"
        self.cells = cells.cells_of(definition)
        self.machine = None

    # --- the whole -----------------------------------------------------------------------------------------------------

    def run(self):
        """Runs what is missing. Returns the number of cells that failed."""
        self.keep_settings()
        for cluster in self.definition.clusters:
            mine = [cell for cell in self.cells if cell.cluster is cluster]
            if all(self.records.is_done(cell.name) for cell in mine) and not self.missing_extras(cluster):
                continue
            try:
                with self.open(cluster) as self.machine:
                    for model in self.definition.models:
                        self.run_pair([cell for cell in mine if cell.model is model])
                    self.say("")
            except CommandFailed as error:
                self.not_measurable(mine, error)
        return sum((self.records.read(cell.name) or {}).get("status") == FAILED for cell in self.cells)

    def keep_settings(self):
        """Records of other models, clusters or cases must not be taken for those of this definition."""
        path, mine = self.folder / "settings.json", definitions.settings(self.definition)
        if path.exists():
            earlier = json.loads(path.read_text())
            changed = [key for key in mine if key in earlier and earlier[key] != mine[key]]
            if changed:
                raise CommandFailed(f"{self.folder}: measured with another {changed[0]}; begin anew with --restart, or give another --results", 2)
            mine = {**earlier, **mine}
        cells.write_json(path, mine)

    def open(self, cluster):
        if not cluster.cpus:
            if not self.hosts:
                raise CommandFailed("this cluster is of real nodes: name them with --hosts FILE", 2)
            return machines.HostFile(self.hosts, cluster, self.work / "logs")
        return machines.EmulatedCluster(self.cluster_name, cluster, self.work / "logs")

    def not_measurable(self, mine, error):
        for cell in mine:
            if not self.records.is_done(cell.name):
                self.records.write(cell.name, NOT_MEASURABLE, message=str(error), **cell.identity())
        self.say(f"{mine[0].cluster.name}: not measurable: {error}")

    def run_pair(self, mine):
        for repetition in range(1, self.definition.repetitions + 1):
            pending = [cell for cell in mine if cell.repetition == repetition and not self.records.is_done(cell.name)]
            for attempt in range(ATTEMPTS):
                for cell in pending:
                    if cell.case.program == "lshdp":
                        self.run_lshdp_cell(cell)
                self.run_pytorch_cells([cell for cell in pending if cell.case.program == "pytorch"])
                pending = self.disturbed(pending)
                if pending and attempt + 1 < ATTEMPTS:
                    self.say(f"disturbed, again: {', '.join(cell.name for cell in pending)}")
        if mine[0].pair in self.definition.timeline:
            self.run_trace(mine[0])
        if mine[0].cluster is self.definition.clusters[-1]:
            self.run_extrapolation(mine[0])

    def tell_disturbed(self, name):
        return lambda share: self.say(f"disturbed, {100 * share:.0f} % of the CPU time stolen, again: {name}")

    def disturbed(self, mine):
        """Those of these cells that are done while the machine's host took too much."""
        found = [(cell, self.records.read(cell.name)) for cell in mine if cell.cluster.cpus]
        return [cell for cell, record in found if record and record["status"] == DONE and record["stolen"] > MOST_STOLEN]

    def keep(self, cell, seconds, stolen, result):
        """Of a cell's attempts the one counts during which the least was stolen."""
        earlier = self.records.read(cell.name)
        if not earlier or earlier["status"] != DONE or stolen < earlier["stolen"]:
            self.records.write(cell.name, DONE, seconds, **cell.identity(), stolen=stolen, result=result)

    def missing_extras(self, cluster):
        pairs = [f"{model.name}-{cluster.name}" for model in self.definition.models]
        names = [self.definition.timeline_name(pair) for pair in pairs if pair in self.definition.timeline]
        if cluster is self.definition.clusters[-1]:
            names += [f"{pair}-extrapolated-{nodes}" for pair in pairs for nodes in self.definition.extrapolate]
        return any(not self.records.is_done(name) for name in names)

    def say(self, text):
        done = sum(self.records.is_done(cell.name) for cell in self.cells)
        left = minutes(cells.seconds_left(self.cells, self.records))
        print(f"[{done}/{len(self.cells)} cells, about {left} left] {text}", file=sys.stderr, flush=True)

    # --- commands ------------------------------------------------------------------------------------------------------

    def command(self, name, arguments, on_nodes, timeout=None):
        command = [str(argument) for argument in arguments]
        environment = {"TORCHINDUCTOR_CACHE_DIR": str(self.work / "compiled")}
        if self.machine.cluster.cpus:
            environment |= {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        machines.run(self.machine.launch(command) if on_nodes else command, self.work / "logs" / f"{name}.log",
                     timeout or self.definition.cell_timeout, {**environment, **self.machine.environment})

    def threads(self):
        return ["--threads", 1] if self.machine.cluster.cpus else []

    def model_argument(self, model):
        if isinstance(model.description, str):
            return model.description
        path = self.work / f"{model.name}.json"
        cells.write_json(path, model.description)
        return path

    def data_file(self, model):
        path = self.work / f"{model.name}.h5"
        if path.exists():
            return path
        partial = path.with_suffix(".partial")
        d = model.description if isinstance(model.description, dict) else {}
        if model.context:
            arguments = ["synthetic-tokens", "--count", SAMPLES * model.context, "--vocab", d.get("vocab_size", 50257)]
        else:
            arguments = ["synthetic-images", "--count", SAMPLES, "--size", d.get("image_size", 224),
                         "--channels", d.get("channels", 3), "--classes", d.get("num_classes", 1000)]
        self.command(f"data-{model.name}", [LSHDP, "data", *arguments, "--out", partial], False)
        partial.rename(path)
        return path

    def steps(self, cell):
        return self.definition.steps_of(cell.case, cell.pair)

    def fail(self, cell, error, seconds=0.0):
        """Says and records that the cell has no figure, and why; the others go on."""
        self.records.write(cell.name, status_of(error), seconds, str(error), **cell.identity())
        self.say(f"{cell.name}: {status_of(error)}: {error}")

    # --- measure and plan ----------------------------------------------------------------------------------------------

    def setup(self, cell):
        """The record of profile and plans for the cell's model, cluster, mode and wire; measured once."""
        name, mode = cell.setup_name, cell.setup_mode
        if not self.records.is_done(name):
            self.say(f"{name}: profile and plans")
            begun = time.monotonic()
            measure = functools.partial(self.measure_and_plan, name, cell, mode)
            content, stolen = least_disturbed(measure, self.tell_disturbed(name)) if cell.cluster.cpus else (measure(), None)
            self.records.write(name, DONE, time.monotonic() - begun, model=cell.model.name, cluster=cell.cluster.name,
                               cpus=list(cell.cluster.cpus), nodes=cell.cluster.nodes, stolen=stolen, **content)
        return self.records.read(name)

    @staticmethod
    def adapters(model):
        return ["--lora", model.lora] if model.lora else []

    def total(self, cell):
        return cell.cluster.total or cell.model.total

    @staticmethod
    def store(cell):
        """Options of the store beside its mode."""
        return [*(["--wire", cell.case.wire] if cell.case.wire != "exact" else []),
                *(["--resident", cell.case.resident] if cell.case.resident else [])]

    @staticmethod
    def clipping(cell):
        return ["--clip", cell.case.clip] if cell.case.clip else []

    def measure_and_plan(self, name, cell, mode):
        free = any(case.batches == "free" for case in self.definition.cases)
        total, profile = self.total(cell), self.work / f"{name}.profile.json"
        bound = ["--max", cell.model.max_batch] if free else ["--total", total]
        self.command(f"{name}-profile", [LSHDP, "profile", "--model", self.model_argument(cell.model), *self.adapters(cell.model), "--mode", mode,
                                         "--data", self.data_file(cell.model), "--device", self.device, *self.threads(),
                                         *self.store(cell), *bound, "--out", profile], True)
        plans = {"solved": self.optimize(name, profile, ["--total", total])}
        if free:
            plans["free"] = self.optimize(name + "-free", profile, [])
        return {"profile": json.loads(profile.read_text()), "plans": plans}

    def optimize(self, name, profile, arguments):
        out = self.work / f"{name}.batches.json"
        self.command(f"{name}-optimize", [LSHDP, "optimize", profile, *arguments, "--out", out], False)
        return json.loads(out.read_text())

    def layout_file(self, cell):
        """The layout.json of the cell's case: the file that it names, or one planned once from the profile of the setup."""
        if cell.case.layout.endswith(".json"):
            return ROOT / cell.case.layout
        name, path = cell.layout_name, self.work / f"{cell.layout_name}.json"
        if not self.records.is_done(name):
            cells.write_json(self.work / f"{name}.profile.json", self.setup(cell)["profile"])
            self.command(name, [LSHDP, "optimize", self.work / f"{name}.profile.json", "--total", self.total(cell),
                                *self.planning(cell.case), "--out", path], False)
            layout = json.loads(path.read_text())
            if "replicas" not in layout:
                raise CommandFailed("lshdp optimize --layout wrote no layout", 1)
            self.records.write(name, DONE, model=cell.model.name, cluster=cell.cluster.name, layout=layout)
        cells.write_json(path, self.records.read(name)["layout"])
        return path

    @staticmethod
    def planning(case):
        """Options of the planner of layouts."""
        options = {"--layout": case.layout, "--stages": case.stages, "--pipeline-schedule": case.schedule}
        return [word for option, value in options.items() if value for word in (option, value)]

    # --- lshdp ---------------------------------------------------------------------------------------------------------

    def batches_arguments(self, cell, setup):
        if cell.case.layout:
            return ["--layout", self.layout_file(cell)]
        if cell.case.batches == "equal":
            return ["--batches", "equal", "--total", self.total(cell)]
        path = self.work / f"{cell.pair}-{cell.case.mode}-{cell.case.batches}.batches.json"
        cells.write_json(path, setup["plans"][cell.case.batches])
        return ["--batches", path]

    def train(self, name, cell, setup, steps, further=()):
        """Trains; returns the run directory."""
        results = self.work / "runs" / name
        self.command(name, [LSHDP, "train", "--model", self.model_argument(cell.model), *self.adapters(cell.model), "--mode", cell.case.mode,
                            "--data", self.data_file(cell.model), "--device", self.device, *self.threads(),
                            *self.batches_arguments(cell, setup), *self.store(cell), *self.clipping(cell), "--steps", steps,
                            "--results", results, "--overwrite", *further], True)
        return results

    def run_lshdp_cell(self, cell):
        self.say(cell.name)
        begun = time.monotonic()
        try:
            setup, begun, stolen = self.setup(cell), time.monotonic(), StolenTime()
            results = self.train(cell.name, cell, setup, self.steps(cell))
            summary = json.loads((results / "summary.json").read_text())
            layout = {"layout": json.loads((results / "layout.json").read_text())} if cell.case.layout else {}
        except (CommandFailed, OSError, ValueError) as error:
            self.fail(cell, as_failure(error), time.monotonic() - begun)
            return
        self.keep(cell, time.monotonic() - begun, stolen.share(), {**lshdp_result(summary, setup, cell), **layout})

    def run_trace(self, cell):
        """A short run with --trace, kept apart from those that are timed."""
        name, case = self.definition.timeline_name(cell.pair), self.definition.traced_case()
        if case is None or self.records.is_done(name):
            return
        traced = cells.Cell(cell.model, cell.cluster, case, None, 1)
        self.say(name)
        try:
            results = self.train(name, traced, self.setup(traced), TRACED_STEPS, ["--trace"])
            events = json.loads((results / "trace.json").read_text())
            cut = timeline.two_steps(events, TRACED_STEPS)
            if cut:
                self.records.write(name, DONE, model=cell.model.name, cluster=cell.cluster.name, **cut)
        except CommandFailed as error:
            self.say(f"{name}: {status_of(error)}: {error}")

    def run_extrapolation(self, cell):
        """Plans for clusters larger than can be emulated, from the largest measured profile."""
        names = {nodes: f"{cell.pair}-extrapolated-{nodes}" for nodes in self.definition.extrapolate}
        if all(self.records.is_done(name) for name in names.values()):
            return
        try:
            profile, out = self.work / f"{cell.pair}-extrapolated.profile.json", self.work / f"{cell.pair}-extrapolated.json"
            cells.write_json(profile, self.setup(cell)["profile"])
            self.optimize(f"{cell.pair}-extrapolated", profile,
                          ["--total", self.total(cell), "--scale", ",".join(map(str, names)), "--scale-out", out])
            for point in json.loads(out.read_text())["points"]:
                self.records.write(names[point["ranks"]], DONE, model=cell.model.name, cluster=cell.cluster.name, nodes=point["ranks"],
                                   total=point["total"], predicted=point["predicted"], idle=point["idle"])
        except CommandFailed as error:
            self.say(f"{cell.pair}-extrapolated: {status_of(error)}: {error}")

    # --- PyTorch -------------------------------------------------------------------------------------------------------

    def pytorch_batches(self, cell):
        total, nodes = self.total(cell), cell.cluster.nodes
        if cell.case.cut:  # one pipeline, its batch at its first rank
            return [total] + [0] * (nodes - 1)
        if cell.case.batches == "equal":
            return [total // nodes + (rank < total % nodes) for rank in range(nodes)]
        return [rank["batch"] for rank in self.setup(cell)["plans"][cell.case.batches]["ranks"]]

    def split_arguments(self, cell):
        """Who has what part of a step."""
        if cell.case.cut not in ("", "uniform"):
            planned = cells.Cell(cell.model, cell.cluster, self.definition.case(cell.case.cut), None, 1)
            return ["--cut", self.layout_file(planned)]
        return ["--batches", ",".join(map(str, self.pytorch_batches(cell)))]

    def pytorch_arguments(self, cell):
        case, further = cell.case, ["--compile"] if cell.case.compile else []
        if case.schedule:
            further += ["--schedule", case.schedule]
        if cell.micro_batches is not None:
            further += ["--micro-batches", cell.micro_batches]
        if cell.bucket_mb is not None:
            further += ["--bucket-mb", f"{cell.bucket_mb:g}"]
        if cell.model.lora:  # both programs read one file
            further += [*self.adapters(cell.model), "--data", self.data_file(cell.model)]
        return ["--model", self.model_argument(cell.model), "--mode", case.mode, *further, *self.split_arguments(cell), "--wire", case.wire,
                "--timeout", self.definition.cell_timeout, "--steps", self.steps(cell), "--out", self.out_of(cell)]

    def runnable(self, pending):
        """Those of these cells that all is there for; of the others it is recorded what is not."""
        found = []
        for cell in pending:
            try:
                self.pytorch_arguments(cell)
                found.append(cell)
            except CommandFailed as error:
                self.fail(cell, error)
        return found

    def run_pytorch_cells(self, pending):
        """All in one launch, because importing torch takes a slow node half a minute. After a failure the rest goes on."""
        pending = self.runnable(pending)
        while pending:
            self.say(f"{pending[0].pair}: PyTorch, {len(pending)} runs in one launch, repetition {pending[0].repetition}")
            for cell in pending:
                self.out_of(cell).unlink(missing_ok=True)
            begun, error = time.monotonic(), None
            try:
                self.launch_pytorch(pending)
            except CommandFailed as failure:
                error = failure
            finally:  # also when interrupted: what is there is kept
                self.keep_pytorch(pending, time.monotonic() - begun)
            pending = [cell for cell in pending if not self.out_of(cell).exists()]  # neither done nor refused
            if error and pending:
                self.fail(pending[0], error)
                pending = pending[1:]
            elif error:
                self.say(f"{error}: what was measured before is kept")

    def out_of(self, cell):
        return self.work / "runs" / f"{cell.name}.json"

    def launch_pytorch(self, pending):
        (self.work / "runs").mkdir(parents=True, exist_ok=True)
        self.compile_beforehand([cell for cell in pending if cell.case.compile])
        self.command(f"pytorch-{pending[0].name}", pytorch_command(map(self.pytorch_arguments, pending)), True,
                     self.definition.cell_timeout * len(pending))

    def compile_beforehand(self, compiled):
        """Fills the cache of torch.compile with the whole machine's speed: an emulated node would compile for many minutes."""
        if not compiled or not self.machine.cluster.cpus:
            return
        short = [[*self.pytorch_arguments(cell), "--steps", 3, "--out", self.work / "compiled.json"] for cell in compiled]
        everywhere = ["mpirun", *machines.as_root(), "--oversubscribe", "--bind-to", "none", "-np", self.machine.cluster.nodes]
        self.command(f"compile-{compiled[0].name}", [*everywhere, "-x", "MASTER_ADDR=127.0.0.1", *pytorch_command(short)], False,
                     self.definition.cell_timeout * len(compiled))

    def keep_pytorch(self, pending, seconds):
        found = [cell for cell in pending if self.out_of(cell).exists()]
        for cell in found:
            result = json.loads(self.out_of(cell).read_text())
            if "refused" in result:
                self.records.write(cell.name, REFUSED, message=result["refused"], **cell.identity())
                self.say(f"{cell.name}: {REFUSED}: {result['refused']}")
            else:
                self.keep(cell, seconds / len(found), result["stolen"], result)


def pytorch_command(runs):
    """One launch of these runs, each given by its arguments."""
    joined = [argument for run in runs for argument in ("--next", *run)]
    return [PYTHON, ROOT / "experiments/baselines/train.py", *joined[1:]]


def lshdp_result(summary, setup, cell):
    """The figures of a run under the names that the baselines use, too."""
    by_rank = {key: [rank[key] for rank in summary["ranks"]]
               for key in ("compute_seconds", "communication_seconds", "wait_seconds")}
    if "cpu_seconds" in summary["ranks"][0]:
        by_rank["cpu_seconds_per_step"] = [rank["cpu_seconds"] for rank in summary["ranks"]]
        by_rank["communication_cpu_seconds_per_step"] = [rank["communication_cpu_seconds"] for rank in summary["ranks"]]
    if cell.case.batches == "equal":
        predicted = (setup["plans"]["solved"].get("equal_split") or {}).get("step_seconds")
    else:
        predicted = (summary["predicted"] or {}).get("step_seconds")
    return {"batches": [rank["batch"] for rank in summary["ranks"]], "total": summary["total"], "steps": summary["steps"],
            "step_seconds": summary["step_seconds"], "samples_per_second": summary["total"] / summary["step_seconds"]["median"],
            "predicted_step_seconds": predicted, **by_rank}
