# What an experiment consists of, read from YAML and checked: models x clusters x cases x repetitions.
import dataclasses
import json
import pathlib

import yaml


class DefinitionError(Exception):
    """A definition says something that cannot be meant; the message names file and key."""


@dataclasses.dataclass(frozen=True)
class Model:
    name: str
    description: object  # a preset's name, or the JSON description
    total: int
    max_batch: int  # profiles for the best total measure no further
    lora: str = ""  # both programs train these adapters instead (lshdp's --lora)

    @property
    def context(self):
        """Tokens of a sample; None: it is no text."""
        described = {"type": self.description} if isinstance(self.description, str) else self.description
        if described["type"].startswith("gpt2"):
            return described.get("n_positions", 1024)
        return described["max_position_embeddings"] if described["type"] == "llama" else None


@dataclasses.dataclass(frozen=True)
class Cluster:
    name: str
    cpus: tuple = ()  # percent of a core, by node; empty: real nodes from a host file
    rates: tuple = ("1gbit",)
    delay: str = ""
    nodes: int = 0
    total: int = 0  # samples a step, in place of the model's


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    program: str  # lshdp or pytorch
    mode: str
    batches: str = "solved"  # equal, solved (for the fixed total) or free (the solver also chooses the total)
    wire: str = "exact"
    resident: str = ""  # of lsdp: auto, all, or how many blocks; "": auto
    clip: float = 0  # the norm that lshdp clips gradients to; 0: none
    layout: str = ""  # of lshdp: data, pipeline, auto or a layout.json, its path from the repository; "": every rank holds the model
    stages: str = ""  # how lshdp cuts a pipeline: uniform, speed, profiled or auto; "": as it does by itself
    schedule: str = ""  # of pipelines: 1f1b or gpipe; "": as the program has it
    cut: str = ""  # of PyTorch's pipelines: uniform, or the name of the case whose layout is taken
    micro_batches: tuple = (None,)  # of PyTorch's pipelines: how many a step; none: as in the layout
    bucket_mb: tuple = (None,)
    compile: bool = False  # torch.compile
    steps: dict = dataclasses.field(default_factory=dict)  # by MODEL-CLUSTER, where they differ from the definition's
    models: tuple = ()  # names of those that it is measured with; none: all
    clusters: tuple = ()

    def is_measured(self, model, cluster):
        return model.name in (self.models or (model.name,)) and cluster.name in (self.clusters or (cluster.name,))


@dataclasses.dataclass(frozen=True)
class Definition:
    name: str
    title: str
    models: tuple
    clusters: tuple
    cases: tuple
    repetitions: int = 1
    steps: int = 30
    baseline_steps: int = 16
    cell_timeout: int = 900  # seconds
    timeline: tuple = ()  # MODEL-CLUSTER pairs that are traced
    timeline_case: str = ""  # the case that is; "": the first of lshdp's with solved batches
    extrapolate: tuple = ()  # numbers of nodes that the largest cluster's profile is stretched to
    beside: str = ""  # the case that the others are compared with, telling differences from noise
    required: dict = dataclasses.field(default_factory=dict)

    def case(self, name):
        """None if there is none of this name."""
        return next((case for case in self.cases if case.name == name), None)

    def steps_of(self, case, pair):
        return case.steps.get(pair, self.steps if case.program == "lshdp" else self.baseline_steps)

    def traced_case(self):
        """The case whose steps are traced, None if there is none."""
        wanted = self.timeline_case
        return next((case for case in self.cases if case.program == "lshdp" and
                     (case.name == wanted if wanted else case.batches == "solved")), None)

    def timeline_name(self, pair):
        """Of the record with a pair's traced steps."""
        return "-".join(filter(None, (pair, "timeline", self.timeline_case)))


MODES = {"lshdp": ("ddp", "fsdp", "lsdp"), "pytorch": ("plain", "ddp", "fsdp2", "pipeline")}
PLANNED_LAYOUTS = ("data", "pipeline", "auto")
STAGES = ("uniform", "speed", "profiled", "auto")
SCHEDULES = ("1f1b", "gpipe")
REQUIRED_KEYS = {"ratios", "limit", "compute", "prediction_mean", "prediction_worst"}


def fields_from(cls, name, values, where):
    """The dataclass from a mapping; lists become tuples, keys it does not know are refused."""
    if not isinstance(values, dict):
        raise DefinitionError(f"{where}: keys and values are wanted")
    known = {field.name for field in dataclasses.fields(cls)} - {"name"}
    for key in values:
        if key not in known:
            raise DefinitionError(f"{where}: {key} is not a key; there are {', '.join(sorted(known))}")
    try:
        return cls(name=name, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise DefinitionError(f"{where}: {error}") from error


def check_pipeline(case, where):
    """The keys of layouts and pipelines."""
    pipeline = case.mode == "pipeline"
    for key, goes_with, there in (("layout", "program lshdp", case.program == "lshdp"), ("stages", "layout", case.layout),
                                  ("schedule", "layout or mode pipeline", case.layout or pipeline), ("cut", "mode pipeline", pipeline)):
        if getattr(case, key) and not there:
            raise DefinitionError(f"{where}: {key} goes with {goes_with}")
    for key, known in (("stages", STAGES), ("schedule", SCHEDULES)):
        if getattr(case, key) and getattr(case, key) not in known:
            raise DefinitionError(f"{where}: {key} is {getattr(case, key)}; there are {', '.join(known)}")
    if case.layout and case.layout not in PLANNED_LAYOUTS and not case.layout.endswith(".json"):
        raise DefinitionError(f"{where}: layout is {case.layout}; there are {', '.join(PLANNED_LAYOUTS)} and files that end in .json")
    if pipeline and not case.cut:
        raise DefinitionError(f"{where}: cut is missing: uniform, or a case of lshdp's with a layout")
    if case.micro_batches != (None,) and not pipeline:
        raise DefinitionError(f"{where}: micro_batches goes with mode pipeline")
    if (case.layout or pipeline) and case.batches != "solved":
        raise DefinitionError(f"{where}: a layout has batches of its own: leave batches out")
    if pipeline and case.wire != "exact":
        raise DefinitionError(f"{where}: mode pipeline has wire exact only")


def read_case(name, values, where):
    case = fields_from(Case, name, values, where)
    if case.program not in MODES:
        raise DefinitionError(f"{where}: program is {case.program}; there are lshdp and pytorch")
    if case.mode not in MODES[case.program]:
        raise DefinitionError(f"{where}: mode is {case.mode}; {case.program} has {', '.join(MODES[case.program])}")
    if case.batches not in ("equal", "solved", "free"):
        raise DefinitionError(f"{where}: batches is {case.batches}; there are equal, solved and free")
    if case.wire not in ("exact", "bf16"):
        raise DefinitionError(f"{where}: wire is {case.wire}; there are exact and bf16")
    if case.resident and case.mode != "lsdp":
        raise DefinitionError(f"{where}: resident is for mode lsdp only")
    if case.mode == "fsdp2" and case.batches != "equal":
        raise DefinitionError(f"{where}: fsdp2 is measured with equal batches only")
    if case.compile and case.program != "pytorch":
        raise DefinitionError(f"{where}: compile is for pytorch only")
    if case.clip and case.program != "lshdp":
        raise DefinitionError(f"{where}: clip is for lshdp only")
    if not isinstance(case.steps, dict) or any(not isinstance(steps, int) or steps < 3 for steps in case.steps.values()):
        raise DefinitionError(f"{where}: steps: numbers of at least 3 by MODEL-CLUSTER, as in {{W2-A: 8}}")
    check_pipeline(case, where)
    return case


def read_cluster(name, values, where):
    cluster = fields_from(Cluster, name, values, where)
    if bool(cluster.cpus) == bool(cluster.nodes):
        raise DefinitionError(f"{where}: either cpus (emulated nodes) or nodes (of a host file)")
    if len(cluster.rates) not in (1, len(cluster.cpus)):
        raise DefinitionError(f"{where}: rates has {len(cluster.rates)} values; one, or one for each node")
    return dataclasses.replace(cluster, nodes=cluster.nodes or len(cluster.cpus))


def read_model(name, values, where):
    values = {"max_batch": 4096, **values}
    return fields_from(Model, name, values, where)


def check_restrictions(definition, where):
    """Cases name models and clusters that there are, and leave no pair without any case."""
    known = {"models": {model.name for model in definition.models}, "clusters": {cluster.name for cluster in definition.clusters}}
    for case in definition.cases:
        for key, names in known.items():
            for name in set(getattr(case, key)) - names:
                raise DefinitionError(f"{where}: cases: {case.name}: {key}: {name} is none of this definition; there are {', '.join(sorted(names))}")
    for cluster in definition.clusters:
        for model in definition.models:
            if not any(case.is_measured(model, cluster) for case in definition.cases):
                raise DefinitionError(f"{where}: {model.name}-{cluster.name}: no case is measured with it")


def check_adapters(definition, where):
    """The baselines train adapters by DDP."""
    for model in definition.models:
        for case in definition.cases:
            if model.lora and case.mode in ("fsdp2", "pipeline") and model.name in (case.models or (model.name,)):
                raise DefinitionError(f"{where}: cases: {case.name}: mode {case.mode} is not measured with lora, which {model.name} has")


def check(definition, where):
    check_restrictions(definition, where)
    check_adapters(definition, where)
    pairs = {f"{m.name}-{c.name}" for m in definition.models for c in definition.clusters}
    for pair in (*definition.timeline, *definition.required.get("ratios", {}), *(pair for case in definition.cases for pair in case.steps)):
        if pair not in pairs:
            raise DefinitionError(f"{where}: {pair} is no MODEL-CLUSTER of this definition")
    if definition.timeline_case and definition.traced_case() is None:
        raise DefinitionError(f"{where}: timeline_case: {definition.timeline_case} is no case of lshdp's")
    for case in definition.cases:
        if case.cut not in ("", "uniform") and not (definition.case(case.cut) and definition.case(case.cut).layout):
            raise DefinitionError(f"{where}: cases: {case.name}: cut: {case.cut} is no case of lshdp's with a layout")
    if definition.beside and definition.case(definition.beside) is None:
        raise DefinitionError(f"{where}: beside: {definition.beside} is no case of this definition")
    unknown = set(definition.required) - REQUIRED_KEYS
    if unknown:
        raise DefinitionError(f"{where}: required: {unknown.pop()} is not a key; there are {', '.join(sorted(REQUIRED_KEYS))}")
    for cluster in definition.clusters:
        for model in definition.models:
            if (cluster.total or model.total) < cluster.nodes:
                raise DefinitionError(f"{where}: {model.name}-{cluster.name}: a total below one sample a node")


def parse_definition(name, values, where):
    """A Definition from what YAML gave."""
    if not isinstance(values, dict):
        raise DefinitionError(f"{where}: keys and values are wanted")
    values = dict(values)
    for key, read in (("models", read_model), ("clusters", read_cluster), ("cases", read_case)):
        if not isinstance(values.get(key), dict) or not values[key]:
            raise DefinitionError(f"{where}: {key} is missing")
        values[key] = [read(str(n), v, f"{where}: {key}: {n}") for n, v in values[key].items()]
    definition = fields_from(Definition, name, values, where)
    check(definition, where)
    return definition


def read_definition(path):
    path = pathlib.Path(path)
    try:
        return parse_definition(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise DefinitionError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise DefinitionError(f"{path}: {' '.join(str(error).split())}") from error


def settings(definition):
    """What a measured figure depends on, part by part, as JSON gives it back."""
    parts = {"steps": definition.steps, "baseline_steps": definition.baseline_steps}
    for kind, things in (("model", definition.models), ("cluster", definition.clusters), ("case", definition.cases)):
        parts |= {f"{kind} {thing.name}": dataclasses.asdict(thing) for thing in things}
    for model in definition.models:
        if not model.lora:  # results from before there was the key stay good
            parts[f"model {model.name}"].pop("lora")
    for name in (name for name in parts if name.startswith("case ")):
        for key in ("bucket_mb", "micro_batches", "models", "clusters"):  # more of them are further cells
            parts[name].pop(key)
        for key in ("clip", "compile", "layout", "stages", "schedule", "cut", "steps"):  # results from before there was the key stay good
            if not parts[name][key]:
                parts[name].pop(key)
    return json.loads(json.dumps(parts))
