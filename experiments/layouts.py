# What a layout.json says (include/lshdp/plan/layout.h), and the time that no step of it can fall below.
import math


def is_data_parallel(layout):
    """Whether every replica has one stage."""
    return all(len(replica["stages"]) == 1 for replica in layout["replicas"])


def micro_batches_of(replica):
    return replica.get("micro_batches") or [replica["batch"]]


def sizes_text(sizes):
    return f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 and len(sizes) > 1 else "+".join(map(str, sizes))


def replica_text(replica):
    stages = ", ".join(f"rank {stage['rank']} blocks {stage['start']} to {stage['end'] - 1}" for stage in replica["stages"])
    return f"{replica['batch']} samples as {sizes_text(micro_batches_of(replica))}: {stages}"


def seconds_by_stage(replica, compute):
    """Seconds that each stage computes, from those of its rank; a rank with two stages divides them as predicted, or by blocks."""
    def weight(stage):
        predicted = stage.get("predicted") or {}
        return predicted.get("forward_seconds", 0) + predicted.get("backward_seconds", 0) or stage["end"] - stage["start"]

    of_rank = {}
    for stage in replica["stages"]:
        of_rank[stage["rank"]] = of_rank.get(stage["rank"], 0) + weight(stage)
    return [compute[stage["rank"]] * weight(stage) / of_rank[stage["rank"]] for stage in replica["stages"]]


def bytes_by_link(replica, profile):
    """Bytes a sample that each stage gives to the next one."""
    return [profile["blocks"][stage["end"] - 1]["output_bytes"] for stage in replica["stages"][:-1]]


def link_seconds(layout, profile):
    """Of the busiest link between two stages in a step, each way."""
    rate = profile["network"]["bytes_per_second"]
    return max((replica["batch"] * size / rate for replica in layout["replicas"] for size in bytes_by_link(replica, profile)), default=0.0)


def bound_of_replica(replica, compute, profile):
    """The busiest of its stages and links, and what passes before the first micro-batch is there and after the last one has left."""
    count, rate = len(micro_batches_of(replica)), profile["network"]["bytes_per_second"]
    links = [replica["batch"] * size / rate for size in bytes_by_link(replica, profile)]
    before, bound = 0.0, max(compute[stage["rank"]] for stage in replica["stages"])
    for stage, link in zip(seconds_by_stage(replica, compute), [*links, 0.0]):
        bound = max(bound, before + stage, before + stage / count + link)
        before += (stage + 2 * link) / count
    return bound


def bound_of(layout, compute, profile):
    """Seconds below which no step can fall, where ranks compute so long: max(stage, link) and the bubble of the schedule.

    A link is as fast as the profile's slowest. What replicas exchange of gradients is not counted.
    """
    return max((bound_of_replica(replica, compute, profile) for replica in layout["replicas"]), default=math.nan)
