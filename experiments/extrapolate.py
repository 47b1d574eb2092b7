# Stretches a measured profile to more nodes of the same kinds: for predictions where no such cluster can be emulated.
import copy


def all_reduce_seconds(size, nodes, latency, rate):
    """A ring: 2 (N - 1) hops, and 2 (N - 1) / N of the bytes over each link."""
    return 2 * (nodes - 1) * latency + 2 * (nodes - 1) / nodes * size / rate


def stretched(profile, nodes):
    """The ranks repeated in turn; links as fast as measured, through a switch that does not slow down as it grows."""
    result = copy.deepcopy(profile)
    network, ranks = result["network"], profile["ranks"]
    result["ranks"] = [{**copy.deepcopy(ranks[rank % len(ranks)]), "rank": rank, "host": f"node{rank}"} for rank in range(nodes)]
    for point in network["curve"]:
        point["seconds"] = all_reduce_seconds(point["bytes"], nodes, network["latency_seconds"], network["bytes_per_second"])
    return result
