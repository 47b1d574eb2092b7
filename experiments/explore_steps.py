# Steps that lshdp explore computes from a profile, beside the steps that lshdp trained on the same emulated nodes.
import argparse
import json
import pathlib
import statistics
import sys

from experiments import cells, command, definitions, machines, tables
from experiments.commentary import verdict
from experiments.definitions import DefinitionError
from experiments.machines import ROOT, CommandFailed
from experiments.runner import LSHDP, Runner

SHARDING = {"ddp": "NO_OP", "fsdp": "FULLY_SHARD"}
# What is required of the simulator: share of the measured step.
MEAN, WORST = 0.05, 0.10
TIMEOUT = 120


# --- prediction ----------------------------------------------------------------------------------------------------------

def model_config(description):
    """The model's sizes as Hugging Face's config.json has them."""
    if not isinstance(description, dict) or description.get("type") != "gpt2":
        raise DefinitionError("explore_steps: models must be descriptions of type gpt2")
    return {"model_type": "gpt2", "tie_word_embeddings": True, **{key: value for key, value in description.items() if key != "type"}}


def overrides(record, model, total, profile):
    """Data parallel, as `record`'s case trained it."""
    fixed = {"model.seq_length": model.context, "model.global_batch_size": total, "trainer.param_dtype": "float32",
             "tp_range": "[1]", "pp_range": "[1]", "cp_range": "[1]", "mbs_range": "[1]", "recompute_range": "[none]",
             "sharding_range": f"[{SHARDING[record['mode']]}]"}
    added = {"cluster.profile", "tp_range", "pp_range", "cp_range", "mbs_range", "recompute_range", "sharding_range"}
    fixed["cluster.profile"] = profile
    return [f"{'+' if key in added else '++'}{key}={value}" for key, value in fixed.items()]


def predict(record, definition, setup, folder):
    """Seconds of a step by lshdp explore, from the profile that the cell's setup measured."""
    model = next(model for model in definition.models if model.name == record["model"])
    cluster = next(cluster for cluster in definition.clusters if cluster.name == record["cluster"])
    work = folder / "work/explore"
    config, profile, out = work / f"{model.name}.config.json", work / f"{setup['name']}.profile.json", work / f"{record['name']}.json"
    cells.write_json(config, model_config(model.description))
    cells.write_json(profile, setup["profile"])
    machines.run([str(LSHDP), "explore", "--model", str(config), *overrides(record, model, cluster.total or model.total, profile),
                  "--by", "time", "--top", "1", "--json", str(out)], work / f"{record['name']}.log", TIMEOUT)
    return json.loads(out.read_text())["top"][0]["time"]["step_seconds"]


def compare(definition, folder):
    """One dictionary for each cell that was trained."""
    records, rows = cells.Records(folder / "raw"), []
    for cell in cells.cells_of(definition):
        record, setup = records.read(cell.name), records.read(cell.setup_name)
        if not record or record["status"] != cells.DONE or not setup:
            continue
        measured = record["result"]["step_seconds"]["median"]
        predicted = predict(record, definition, setup, folder)
        rows.append({"cell": cell.name, "model": cell.model.name, "nodes": cell.cluster.nodes, "mode": cell.case.mode,
                     "measured": measured, "predicted": predicted, "error": predicted / measured - 1})
    return rows


# --- report --------------------------------------------------------------------------------------------------------------

def sentences(rows):
    errors = [abs(row["error"]) for row in rows]
    worst = max(rows, key=lambda row: abs(row["error"]))
    return [f"The step that lshdp explore computes is {100 * statistics.fmean(errors):.1f} % off on average"
            f"{verdict(statistics.fmean(errors), MEAN, False)}.",
            f"At worst it is {100 * abs(worst['error']):.1f} % off ({worst['cell']}){verdict(abs(worst['error']), WORST, False)}."]


def write_report(definition, folder):
    rows = compare(definition, folder)
    if not rows:
        print(f"explore_steps: {folder}: no figures are there yet", file=sys.stderr)
        return
    lines = [[row["cell"], row["nodes"], row["mode"], tables.number(row["measured"]), tables.number(row["predicted"]), f"{100 * row['error']:+.1f} %"]
             for row in rows]
    parts = [f"# {definition.title}",
             "Made by `experiments/explore_steps.sh`: steps that lshdp trained on emulated nodes, and those that `lshdp explore` computes from the profile "
             "of the same nodes (`+cluster.profile=..`). Micro-batches are dealt out by each.",
             "\n".join(f"- {line}" for line in sentences(rows)),
             tables.markdown(["cell", "nodes", "mode", "trained s", "explore s", "error"], lines)]
    (folder / "explore_steps.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    cells.write_json(folder / "explore_steps.json", rows)
    print(folder / "explore_steps.md", flush=True)


# --- command -------------------------------------------------------------------------------------------------------------

def parse_arguments():
    parser = argparse.ArgumentParser(prog="experiments/explore_steps.sh", description="Compares lshdp explore with trained steps.",
                                     epilog="Finished runs are kept: started again, it goes on where it was.")
    parser.add_argument("definition", nargs="?", default="explore_steps", help="a name in experiments/ (default: explore_steps; small: explore_steps_quick)")
    command.add_result_options(parser, "DEFINITION")
    return parser.parse_args()


def measure_and_report(options):
    definition = definitions.read_definition(ROOT / "experiments" / f"{options.definition}.yaml")
    folder = command.folder_of(options, definition.name)
    command.require_built(LSHDP)
    if not options.report_only:
        with machines.exclusive(options.cluster):
            if Runner(definition, pathlib.Path(folder), options.cluster).run():
                raise CommandFailed("some runs failed; started again, they are tried again", 1)
    write_report(definition, folder)


def main():
    options = parse_arguments()
    return command.exit_code_of("explore_steps", lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
