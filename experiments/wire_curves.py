# Loss curves of --wire bf16 on top of exact's, on real data; exact on one rank less shows what rounding alone does to a curve.
import argparse
import csv
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import sys

from experiments import cells, command, machines, tables
from experiments.machines import ROOT, CommandFailed
from experiments.runner import LSHDP

WINDOW = 20  # steps that are averaged where curves are compared
TIMEOUT = 1800
FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
# scripts/demo.sh trains this one, too.
VIT = {"type": "vit", "image_size": 28, "channels": 1, "patch_size": 7, "num_layers": 4, "num_heads": 4, "hidden_dim": 64,
       "mlp_dim": 128, "num_classes": 10}
GPT = {"type": "gpt2", "n_layer": 4, "n_head": 4, "n_embd": 128, "n_positions": 64, "vocab_size": 256}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One run of a task. All begin with the same weights and see the same batches, whatever the number of ranks."""

    name: str
    text: str
    ranks: int
    wire: str


EXACT, BF16 = Variant("exact", "exact", 4, "exact"), Variant("bf16", "--wire bf16", 4, "bf16")
OTHER = Variant("exact-3-ranks", "exact on 3 ranks", 3, "exact")
VARIANTS = (EXACT, BF16, OTHER)


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    title: str
    model: pathlib.Path
    data: pathlib.Path
    eval_data: pathlib.Path
    total: int
    learning_rate: str


# --- data ----------------------------------------------------------------------------------------------------------------

def convert(arguments, out, work):
    """A data set made by `lshdp data`, once."""
    if not out.exists():
        print(f"data: {out.name}", flush=True)
        partial = out.with_suffix(".partial")
        machines.run([str(a) for a in (LSHDP, "data", *arguments, "--out", partial)], work / f"logs/data-{out.stem}.log", TIMEOUT)
        partial.rename(out)
    return out


def fashion_mnist(part, out, work):
    return convert(["idx", "--images", FASHION_MNIST / f"{part}-images-idx3-ubyte.gz", "--labels", FASHION_MNIST / f"{part}-labels-idx1-ubyte.gz"],
                   out, work)


def image_task(options, work):
    data = options.data or fashion_mnist("train", work / "fashion-mnist-train.h5", work)
    eval_data = options.eval_data or fashion_mnist("t10k", work / "fashion-mnist-test.h5", work)
    title = "ViT on Fashion-MNIST" if options.data is None else f"{(options.model or pathlib.Path('ViT')).stem} on {options.data.stem}"
    return Task("images", title, options.model or model_file(VIT, work / "vit.json"), data, eval_data, 128, "2e-3")


def text_task(options, work):
    """The last tenth of the text is kept for evaluation."""
    train, test = work / "text-train.h5", work / "text-test.h5"
    convert(["text", *options.text, "--tokenizer", "byte", "--validation-fraction", "0.1", "--validation-out", test], train, work)
    size = sum(path.stat().st_size for path in options.text)
    return Task("text", f"GPT on {size / 1e6:.1f} MB of text, byte by byte", model_file(GPT, work / "gpt.json"), train, test, 16, "1e-3")


def model_file(description, path):
    cells.write_json(path, description)
    return path


# --- running -------------------------------------------------------------------------------------------------------------

def train_command(task, variant, steps, results):
    return ["mpirun", "-np", variant.ranks, "--oversubscribe", "--bind-to", "none", LSHDP, "train", "--model", task.model, "--data", task.data,
            "--eval-data", task.eval_data, "--batches", "equal", "--total", task.total, "--threads", 1, "--steps", steps, "--wire", variant.wire,
            "--lr", task.learning_rate, "--schedule", "cosine", "--warmup", 20, "--weight-decay", "0.05", "--seed", 1, "--results", results,
            "--overwrite", "--log", "warn"]


def run_task(task, options, work):
    """Trains what is not there yet."""
    environment = {"OMP_NUM_THREADS": "1"}
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    for variant in VARIANTS:
        results = folder_of(task.name, variant, work)
        if (results / "summary.json").exists():
            continue
        print(f"{task.title}: {variant.text}, {options.steps} steps", flush=True)
        shutil.rmtree(results, ignore_errors=True)
        words = [str(part) for part in train_command(task, variant, options.steps, results)]
        machines.run(words, work / f"logs/{results.name}.log", TIMEOUT, environment)


def folder_of(task, variant, work):
    return work / "runs" / f"{task}-{variant.name}"


# --- figures -------------------------------------------------------------------------------------------------------------

def losses_of(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record["loss"] for record in records if record["record"] == "step"]


def smoothed(values):
    """Means over the last WINDOW values; the first is of the first WINDOW."""
    return [statistics.fmean(values[at - WINDOW:at]) for at in range(WINDOW, len(values) + 1)]


@dataclasses.dataclass
class Curves:
    """The losses of a task by variant, and what its runs came to."""

    title: str
    losses: dict
    evaluations: dict

    def difference(self, variant):
        """Of the smoothed curve from exact's."""
        return [a - b for a, b in zip(smoothed(self.losses[variant.name]), smoothed(self.losses[EXACT.name]))]

    def final(self, variant):
        return statistics.fmean(self.losses[variant.name][-WINDOW:])


def curves_of(title, task, work):
    losses, evaluations = {}, {}
    for variant in VARIANTS:
        folder = folder_of(task, variant, work)
        losses[variant.name] = losses_of(folder)
        evaluations[variant.name] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["evaluation"]
    return Curves(title, losses, evaluations)


# --- report --------------------------------------------------------------------------------------------------------------

def table(curves):
    lines = []
    for variant in VARIANTS:
        evaluation = curves.evaluations[variant.name] or {}
        accuracy = evaluation.get("accuracy")
        largest = max(map(abs, curves.difference(variant)))
        lines.append([variant.text, tables.number(curves.final(variant), 4), "-" if variant is EXACT else f"{largest:.2g}",
                      tables.number(evaluation.get("loss"), 4), "-" if accuracy is None else f"{100 * accuracy:.2f} %"])
    header = ["", f"training loss, last {WINDOW} steps", "largest difference from exact", "evaluation loss", "accuracy"]
    return tables.markdown(header, lines)


def sentence(curves):
    bf16, other = (max(map(abs, curves.difference(variant))) for variant in (BF16, OTHER))
    return (f"The smoothed curve of `--wire bf16` is never further than {bf16:.2g} from exact's ({100 * bf16 / curves.final(EXACT):.2f} % of the final loss); "
            f"exact on 3 ranks, which differs by the rounding of fp32 sums alone, comes to {other:.2g}.")


def write_csv(all_curves, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "step", *(variant.name for variant in VARIANTS)])
        for task, curves in all_curves.items():
            for step, losses in enumerate(zip(*(curves.losses[variant.name] for variant in VARIANTS)), 1):
                writer.writerow([task, step, *(f"{loss:.7g}" for loss in losses)])


def draw(all_curves, path):
    from experiments import plots
    plt = plots.plt
    looks = {EXACT: (plots.COMPUTE, "-", 2.4), BF16: (plots.WAIT, "--", 1.4), OTHER: (plots.WHOLE, "-", 1.2)}
    with plt.rc_context(plots.STYLE):
        figure, panels = plt.subplots(2, len(all_curves), figsize=(6.2 * len(all_curves), 6.4), sharex="col", squeeze=False, layout="constrained",
                                      height_ratios=[2, 1])
        for (top, bottom), curves in zip(panels.T, all_curves.values()):
            for variant, (colour, style, width) in looks.items():
                steps = range(WINDOW, len(curves.losses[variant.name]) + 1)
                if variant is not OTHER:
                    top.plot(steps, smoothed(curves.losses[variant.name]), color=colour, linestyle=style, linewidth=width, label=variant.text)
                if variant is not EXACT:
                    bottom.plot(steps, curves.difference(variant), color=colour, linewidth=1.3, label=variant.text)
            top.set(title=curves.title, ylabel=f"training loss, mean of {WINDOW} steps")
            bottom.set(xlabel="step", ylabel="difference from exact")
            bottom.axhline(0, color=plots.INK, linewidth=0.8)
            top.legend()
            bottom.legend()
        figure.savefig(path, dpi=120)
        plt.close(figure)


def write_report(all_curves, steps, folder):
    made = machines.made()
    parts = ["# Loss curves of `--wire bf16` beside exact's",
             f"Made by `experiments/wire_curves.sh` at {made['revision']} on {made['machine']}: {steps} steps of AdamW in fp32 on 4 ranks, the same weights, "
             f"batches and learning rates in all runs. Curves are means of {WINDOW} steps."]
    for curves in all_curves.values():
        parts += [f"## {curves.title}", sentence(curves), table(curves)]
    parts.append("![Loss curves of exact and bf16, and their difference](wire.png)")
    (folder / "wire.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    write_csv(all_curves, folder / "wire.csv")
    draw(all_curves, folder / "wire.png")
    print(folder / "wire.md", flush=True)


# --- command -------------------------------------------------------------------------------------------------------------

def parse_arguments():
    parser = argparse.ArgumentParser(prog="experiments/wire_curves.sh", description="Loss curves of --wire bf16 beside exact's.",
                                     epilog="Paths count from the repository. Finished runs are kept: started again, it goes on where it was.")
    parser.add_argument("--data", type=pathlib.Path, metavar="H5", help="images to train on, of `lshdp data` (default: Fashion-MNIST)")
    parser.add_argument("--eval-data", type=pathlib.Path, metavar="H5", help="images to evaluate on")
    parser.add_argument("--model", type=pathlib.Path, metavar="JSON", help="for these images (default: the demo's ViT)")
    parser.add_argument("--text", type=pathlib.Path, nargs="+", metavar="FILE", help="text for a small GPT; without it there is none")
    parser.add_argument("--steps", type=int, default=500, help="default: 500")
    parser.add_argument("--results", default="results", metavar="DIR", help="results go to DIR/wire (default: results)")
    parser.add_argument("--restart", action="store_true", help="throw away what earlier runs made")
    options = parser.parse_args()
    if (options.data is None) != (options.eval_data is None):
        parser.error("--data and --eval-data go together")
    if options.steps < WINDOW:
        parser.error(f"--steps: at least {WINDOW}")
    return options


def keep_settings(options, work):
    """Runs of other data or lengths must not be taken for these."""
    mine = {key: [str(p) for p in value] if isinstance(value, list) else str(value)
            for key, value in vars(options).items() if key in ("data", "eval_data", "model", "text", "steps")}
    path = work / "settings.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise CommandFailed(f"{work}: made with other settings; begin anew with --restart, or give another --results", 2)
    cells.write_json(path, mine)


def train_and_report(options):
    folder = command.folder_of(options, "wire")
    work = folder / "work"
    try:
        keep_settings(options, work)
        tasks = [image_task(options, work)] + ([text_task(options, work)] if options.text else [])
        for task in tasks:
            run_task(task, options, work)
        write_report({task.name: curves_of(task.title, task.name, work) for task in tasks}, options.steps, folder)
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}", 2) from error


def main():
    options = parse_arguments()
    return command.exit_code_of("wire_curves", lambda: train_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
