#!/usr/bin/env python3
# Draws what `lshdp explore --json` found: memory by part and stage, the Pareto front, what fits by number of devices.
"""
    plot_explore.py --out layouts.png best.json

Exit code 3: matplotlib is missing.
"""
import argparse
import json
import pathlib
import sys

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    print(f"plot_explore.py: {error}", file=sys.stderr)
    sys.exit(3)

GIB = 2**30
# Told apart by people who see few colours, too (after Okabe and Ito).
COLOURS = ["#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#666666", "#C9CDD2"]
PARTS = {
    "weights": ["weights_bytes"],
    "gradients": ["gradients_bytes"],
    "master weights": ["master_weights_bytes"],
    "moments": ["moments_bytes"],
    "activations": ["expert_activations_bytes", "other_activations_bytes"],
    "loss": ["loss_bytes"],
    "working set": ["working_set_bytes"],
    "buffers": ["buffers_bytes"],
    "context": ["framework_context_bytes"],
}


def layout_text(layout):
    sizes = ", ".join(f"{key} {layout[key]}" for key in ("TP", "PP", "EP", "CP", "DP"))
    offload = "" if layout["offload"] == "none" else f", offload of {layout['offload']}"
    return f"{layout['devices']} devices: {sizes}{offload}"


def draw_stages(axes, found):
    if not found["top"]:
        axes.set_visible(False)
        return
    first = found["top"][0]
    stages = first["stages"]
    in_host = [stage["host_bytes"] / GIB for stage in stages]
    # Beside the device's bar, where anything is in host memory.
    width = 0.4 if any(in_host) else 0.8
    places = [stage - (0.8 - width) / 2 for stage in range(len(stages))]
    bottom = [0.0] * len(stages)
    for colour, (part, keys) in zip(COLOURS, PARTS.items()):
        heights = [sum(stage[key] for key in keys) / GIB for stage in stages]
        axes.bar(places, heights, width, bottom=bottom, color=colour, label=part)
        bottom = [below + height for below, height in zip(bottom, heights)]
    if any(in_host):
        axes.bar([place + width for place in places], in_host, width, color="white", edgecolor="black", hatch="//",
                 label="in host memory")
    if "device" in found:
        axes.axhline(found["device"]["memory_bytes"] / GIB, color="black", linestyle="--", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(title=layout_text(first["layout"]), xlabel="stage", ylabel="memory of a device (GiB)")
    axes.legend(fontsize=7, ncols=3)


def draw_front(axes, found):
    front = found["pareto"]
    memory = [candidate["stages"][candidate["worst_stage"]]["total_bytes"] / GIB for candidate in front]
    devices = [candidate["layout"]["devices"] for candidate in front]
    if all("time" in candidate for candidate in front):
        seconds = [candidate["time"]["step_seconds"] for candidate in front]
        for colour, count in zip(COLOURS * (1 + len(set(devices)) // len(COLOURS)), sorted(set(devices))):
            chosen = [i for i, of in enumerate(devices) if of == count]
            axes.plot([seconds[i] for i in chosen], [memory[i] for i in chosen], "o-", color=colour, markersize=3,
                      label=f"{count} devices")
        axes.set(title="Neither shorter nor smaller on as many devices", xlabel="step (s)", xscale="log")
        axes.legend(fontsize=7)
    else:
        axes.plot(devices, memory, "o-", color=COLOURS[0])
        axes.set(title="The least memory", xlabel="devices", xscale="log")
    axes.set(ylabel="memory of the fullest device (GiB)", yscale="log")


def draw_counts(axes, found):
    rows = found["by_devices"]
    names = [str(row["devices"]) for row in rows]
    axes.bar(names, [row["valid"] for row in rows], color=COLOURS[-1], label="possible")
    if "device" in found:
        unknown = [row.get("host_unknown", 0) for row in rows]
        if any(unknown):
            known = [row["fits"] + row["tight"] for row in rows]
            axes.bar(names, [more + fewer for more, fewer in zip(unknown, known)], color=COLOURS[1],
                     label="host memory not known")
        axes.bar(names, [row["fits"] + row["tight"] for row in rows], color=COLOURS[4], label="tight")
        axes.bar(names, [row["fits"] for row in rows], color=COLOURS[2], label="fit")
    axes.set(title="Layouts", xlabel="devices", ylabel="layouts")
    axes.legend(fontsize=7)


def draw(found):
    figure, panels = plt.subplots(1, 3, figsize=(18, 5), layout="constrained")
    name = found["model"] + (" on " + found["device"]["name"] if "device" in found else "")
    figure.suptitle(name + (", " + found["cluster"] if "cluster" in found else ""))
    draw_stages(panels[0], found)
    draw_front(panels[1], found)
    draw_counts(panels[2], found)
    return figure


def main():
    parser = argparse.ArgumentParser(description="Draws what `lshdp explore --json` found.")
    parser.add_argument("found", type=pathlib.Path, metavar="FILE", help="that --json wrote")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="PICTURE")
    arguments = parser.parse_args()
    try:
        found = json.loads(arguments.found.read_text())
        if "types" in found:
            raise ValueError("layouts over several types of devices are not drawn")
        draw(found).savefig(arguments.out, dpi=120)
    except (OSError, ValueError, KeyError) as error:
        print(f"plot_explore.py: {arguments.found}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
