# Which rank holds which blocks in PyTorch's pipelines: equally many layers on each, or as a layout.json of lshdp says.
import dataclasses
import json

from refusal import Refused


@dataclasses.dataclass(frozen=True)
class Stage:
    rank: int
    start: int  # blocks [start, end) of models.Chain.chain()
    end: int
    forward: float  # seconds of a micro-batch, in any unit
    backward: float
    in_flight: int | None = None  # micro-batches whose activations it may hold; None: as the schedule has it


@dataclasses.dataclass(frozen=True)
class Replica:
    batch: int
    micro_batches: int  # how many, all of one size: PyTorch's stages receive into buffers of one shape
    stages: tuple

    @property
    def is_looped(self):
        """Whether one rank has the first and the last stage, with others between them."""
        return len(self.stages) > 1 and self.stages[0].rank == self.stages[-1].rank


# --- micro-batches -------------------------------------------------------------------------------------------------------

def least_micro_batches(stages, schedule):
    """What PyTorch's schedule asks for: Schedule1F1B one for each stage, if each rank has one."""
    one_each = len({stage.rank for stage in stages}) == len(stages)
    return len(stages) if schedule == "1f1b" and one_each else 1


def nearest_equal(batch, wanted, least):
    """The number, of those that cut the batch into equal micro-batches, that is nearest to `wanted`; of two the larger."""
    if batch < least:
        raise Refused(f"{batch} samples cannot be cut into {least} micro-batches, one for each stage, which Schedule1F1B needs")
    return min((n for n in range(least, batch + 1) if batch % n == 0), key=lambda n: (abs(n - wanted), -n))


def micro_batches_of(batch, stages, options, wanted):
    least, given = least_micro_batches(stages, options.schedule), options.micro_batches
    if given is None:
        return nearest_equal(batch, wanted, least)
    if given < least or batch % given != 0:
        raise Refused(f"--micro-batches {given}: {batch} samples are to be cut into equal micro-batches, at least {least} of them")
    return given


# --- cuts ----------------------------------------------------------------------------------------------------------------

def uniform(blocks, options):
    """One pipeline over all ranks in their order, equally many layers on each; the ends have the embedding and the head, too."""
    ranks, layers = len(options.batches), (blocks - 2) // 2
    if any(options.batches[1:]):
        raise Refused("--cut uniform is one pipeline: its batch stands at rank 0, as in --batches 16,0,0,0")
    if layers < ranks:
        raise Refused(f"--cut uniform: {layers} layers are too few for {ranks} ranks")
    inner = [1 + 2 * round(layers * rank / ranks) for rank in range(1, ranks)]
    borders = [0, *inner, blocks]
    stages = tuple(Stage(rank, start, end, end - start, 2 * (end - start))
                   for rank, (start, end) in enumerate(zip(borders, borders[1:])))
    batch = options.batches[0]
    return [Replica(batch, micro_batches_of(batch, stages, options, 2 * ranks), stages)]


def stage_of(entry):
    blocks, predicted = entry["end"] - entry["start"], entry.get("predicted") or {}
    return Stage(entry["rank"], entry["start"], entry["end"], predicted.get("forward_seconds", blocks),
                 predicted.get("backward_seconds", 2 * blocks), entry.get("in_flight"))


def of_layout(path, options):
    """The replicas of a layout.json. Its micro-batches may differ in size; ours cannot, so their number may be another."""
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file)["replicas"]
        replicas = []
        for entry in entries:
            stages = tuple(map(stage_of, entry["stages"]))
            wanted = len(entry.get("micro_batches") or [entry["batch"]])
            replicas.append(Replica(entry["batch"], micro_batches_of(entry["batch"], stages, options, wanted), stages))
        return replicas
    except OSError as error:
        raise Refused(f"--cut {path}: {error.strerror}") from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise Refused(f"--cut {path}: no layout of lshdp: {error!r}") from error


def check(replicas, blocks, size, source):
    """Refuses what PyTorch's pipelines cannot do."""
    borders = {tuple((stage.start, stage.end) for stage in replica.stages) for replica in replicas}
    if len(borders) > 1:
        raise Refused(f"--cut {source}: the replicas are cut differently, and PyTorch joins only replicas of the same cut")
    if len(replicas) > 1 and any(replica.is_looped for replica in replicas):
        raise Refused(f"--cut {source}: of several replicas, none may have its first and last stage on one rank")
    ends = [stage.end for stage in replicas[0].stages]
    if [stage.start for stage in replicas[0].stages] != [0, *ends[:-1]] or ends[-1] != blocks:
        raise Refused(f"--cut {source}: the stages do not hold the model's {blocks} blocks one after the other")
    if any(stage.rank >= size for replica in replicas for stage in replica.stages):
        raise Refused(f"--cut {source}: it names more ranks than the {size} there are")


def replicas_of(options, blocks, size):
    """The cut that the options ask for, checked."""
    replicas = uniform(blocks, options) if options.cut == "uniform" else of_layout(options.cut, options)
    check(replicas, blocks, size, options.cut)
    return replicas


def batches_of(replicas, size):
    """By rank: each replica's batch stands at its first stage."""
    batches = [0] * size
    for replica in replicas:
        batches[replica.stages[0].rank] = replica.batch
    return batches


def described(replicas):
    """As the replicas of a layout.json."""
    return [{"batch": replica.batch, "micro_batches": [replica.batch // replica.micro_batches] * replica.micro_batches,
             "stages": [{"rank": stage.rank, "start": stage.start, "end": stage.end} for stage in replica.stages]}
            for replica in replicas]
