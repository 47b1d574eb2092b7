# Made-up records, as the runner would have written them, for tests of what is computed from records.
from experiments.cells import DONE, Records, cells_of
from experiments.definitions import parse_definition

VALUES = {
    "title": "Made up", "repetitions": 2,
    "models": {"M": {"total": 64, "description": "vit_b_32"}},
    "clusters": {"A": {"cpus": [25, 75]}},
    "cases": {
        "lshdp-solved": {"program": "lshdp", "mode": "ddp", "batches": "solved"},
        "lshdp-equal": {"program": "lshdp", "mode": "ddp", "batches": "equal"},
        "plain": {"program": "pytorch", "mode": "plain", "batches": "solved"},
        "ddp-uneven": {"program": "pytorch", "mode": "ddp", "batches": "solved", "bucket_mb": [2, 25]},
    },
    "required": {"limit": 1.15, "compute": 1.03, "prediction_mean": 0.05, "prediction_worst": 0.1,
                 "ratios": {"M-A": {"lshdp-solved": {"ddp-uneven": 1.1}}}},
}
# Seconds a step by case and bucket size; the second repetition takes 0.02 s longer.
STEPS = {("lshdp-solved", None): 1.0, ("lshdp-equal", None): 2.0, ("plain", None): 0.8, ("ddp-uneven", 2): 1.2,
         ("ddp-uneven", 25): 1.3, ("pipeline", None): 0.5, ("pipelining", None): 0.9}
# Cases with a pipeline of two stages, and what they train.
PIPELINES = {
    "pipeline": {"program": "lshdp", "mode": "ddp", "layout": "pipeline", "stages": "profiled"},
    "pipelining": {"program": "pytorch", "mode": "pipeline", "cut": "pipeline", "schedule": "1f1b", "micro_batches": [None, 8]},
}
LAYOUT = {"version": 1, "replicas": [{"batch": 64, "micro_batches": [16, 16, 16, 16],
                                      "stages": [{"rank": 1, "start": 0, "end": 3}, {"rank": 0, "start": 3, "end": 5}]}]}


def definition(**changes):
    return parse_definition("made_up", {**VALUES, **changes}, "made_up.yaml")


def result(cell):
    step = STEPS[cell.case.name, cell.bucket_mb] + 0.02 * (cell.repetition - 1)
    batches = [32, 32] if cell.case.batches == "equal" else [16, 48]
    figures = {"batches": batches, "total": 64, "steps": 20, "step_seconds": {"median": step, "mean": step},
               "samples_per_second": 64 / step, "cpu_seconds_per_step": [0.3, 0.6]}
    if cell.case.program == "lshdp":
        figures |= {"communication_cpu_seconds_per_step": [0.05, 0.05], "predicted_step_seconds": 0.97,
                    "compute_seconds": [0.9, 0.7], "communication_seconds": [0.4, 0.4], "wait_seconds": [0.1, 0.3]}
        if cell.case.layout:
            figures |= {"layout": LAYOUT, "compute_seconds": [0.3, 0.4]}
    else:
        figures |= {"update_cpu_seconds_per_step": [0.04, 0.04]}
    return figures


def setup(bytes_per_second=100e6):
    return {"model": "M", "cluster": "A", "nodes": 2, "plans": {},
            "profile": {"parameter_count": 5_000_000, "network": {"bytes_per_second": bytes_per_second},
                        "blocks": [{"output_bytes": 250_000}] * 5}}


def write_all(folder, definition, **setup_changes):
    records = Records(folder)
    for cell in cells_of(definition):
        records.write(cell.name, DONE, 10.0, **cell.identity(), stolen=0.01 * cell.repetition, result=result(cell))
    for name in {cell.setup_name for cell in cells_of(definition)}:
        records.write(name, DONE, 20.0, **setup(**setup_changes))
    return records
