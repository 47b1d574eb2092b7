# The Markdown tables of results.md.
from experiments import collect, layouts
from experiments.cells import DONE


def number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value):
    return "-" if value is None else f"{100 * value:+.1f} %"


def times(value):
    return "-" if value is None else f"{value:.2f}"


def markdown(header, lines):
    """A table, first column to the left, others to the right."""
    if not lines:
        return ""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (header, rule, *lines))


def case_text(row):
    variant = variant_text(row)
    return row.case + (f" ({variant})" if variant else "")


def variant_text(row):
    """What tells this row from others of its case."""
    return ", ".join([*([f"{row.bucket_mb:g} MiB"] if row.bucket_mb is not None else []),
                      *([f"{row.micro_batches} micro-batches"] if row.micro_batches is not None else [])])


def spread(row):
    return " / ".join(f"{step:.3f}" for step in row.steps_of_repetitions) or "-"


def step_line(row, ours):
    if row.status != DONE:
        return [case_text(row), row.status] + ["-"] * (7 + bool(row.context))
    if row.mode == "plain":  # no communication: not a step of the cluster
        return None
    return [case_text(row), number(row.step), spread(row), " ".join(map(str, row.batches)), number(row.samples_per_second, 1),
            *([number(row.tokens_per_second, 0)] if row.context else []),
            times(collect.ratio(ours.samples_per_second if ours else None, row.samples_per_second)), number(row.cpu, 2), number(row.limit), times(row.over_limit)]


def steps_table(rows):
    """Each case of one model and cluster, beside the first one of lshdp's."""
    ours = next((row for row in rows if row.program == "lshdp" and row.status == DONE), None)
    lines = [line for line in (step_line(row, ours) for row in rows) if line]
    tokens = ["tokens/s"] if rows[0].context else []
    header = ["case", "step s", "repetitions", "batches", "samples/s", *tokens, f"time a sample / {ours.case if ours else '-'}", "CPU-s of all ranks",
              "limit s", "step / limit"]
    return markdown(header, lines)


def limit_line(row, plain, cpus):
    whole, once = collect.plain_cpu_seconds(plain if plain and plain.batches == row.batches else None)
    return [f"{row.pair} {row.case}", number(row.floor), number(row.compute_cpu), number(row.communication_cpu),
            number(collect.ratio(row.cpu, sum(cpus) / 100)), number(row.limit), number(row.step),
            times(row.over_limit), number(row.split_limit), times(row.over_split_limit), number(whole), number(once), times(collect.ratio(row.compute_cpu, whole)),
            times(collect.ratio(row.compute_cpu, once))]


def limits_table(definition, rows):
    cpus = {cluster.name: cluster.cpus for cluster in definition.clusters}
    plain = {row.pair: row for row in rows if row.mode == "plain" and row.status == DONE}
    lines = [limit_line(row, plain.get(row.pair), cpus[row.cluster]) for row in rows
             if row.program == "lshdp" and row.status == DONE and row.floor is not None]
    header = ["", "link floor s", "compute CPU-s", "communication CPU-s", "CPU-s / shares", "limit s", "step s", "step / limit",
              "split's own limit s", "step / own limit", "plain PyTorch CPU-s", "with one update", "compute / plain", "compute / one update"]
    return markdown(header, lines)


def rank_lines(row):
    parts = zip(row.batches, row.compute or [], row.communication or [], row.wait or [])
    return [[f"{row.pair} {row.case}", rank, batch, number(compute), number(communication), number(wait)]
            for rank, (batch, compute, communication, wait) in enumerate(parts)]


def ranks_table(rows):
    lines = [line for row in rows if row.program == "lshdp" and row.status == DONE and len(row.batches) <= 8
             for line in rank_lines(row)]
    return markdown(["", "rank", "batch", "compute s", "communication s", "wait s"], lines)


def prediction_table(rows):
    lines = [[f"{row.pair} {row.case}", number(row.predicted), number(row.step), percent(row.prediction_error)]
             for row in rows if row.predicted is not None]
    return markdown(["", "predicted s", "actual s", "error"], lines)


def variants_table(rows):
    """Every bucket size and number of micro-batches that was tried, where there are several."""
    by_case = {}
    for row in rows:
        if row.status == DONE:
            by_case.setdefault(f"{row.pair} {row.case}", []).append(row)
    lines = [[name, ", ".join(f"{variant_text(row) or 'as in the layout'} {row.step:.3f}" for row in tried)]
             for name, tried in by_case.items() if len(tried) > 1]
    return markdown(["", "step s"], lines)


def layouts_table(rows):
    lines = [[f"{row.pair} {case_text(row)}", number, layouts.replica_text(replica)] for row in rows if row.layout
             for number, replica in enumerate(row.layout["replicas"])]
    return markdown(["", "replica", "which rank holds which blocks, in the first repetition"], lines)


def missing_table(rows):
    lines = [[f"{row.pair} {case_text(row)}", row.status, row.message or "-"] for row in rows if row.status != DONE]
    return markdown(["", "", "why"], lines)


def extrapolation_table(records):
    found = [r for r in records.all() if "-extrapolated-" in r["name"] and r["status"] == DONE]
    lines = [[r["model"], r["nodes"], r["total"], number(r["predicted"]["step_seconds"]),
              number(r["predicted"]["samples_per_second"], 1), number(r["predicted"]["communication_seconds"]), r["idle"]]
             for r in sorted(found, key=lambda r: r["nodes"])]
    return markdown(["model", "nodes", "total", "predicted step s", "samples/s", "of it on the wire s", "nodes left idle"], lines)


def section(title, table, note=""):
    return f"## {title}\n\n" + (f"{note}\n\n" if note else "") + table if table else ""


def text(definition, rows, records):
    best = collect.best_variants(rows)
    pairs = {}
    for row in best:
        pairs.setdefault(row.pair, []).append(row)
    parts = [section(f"{pair}", steps_table(mine)) for pair, mine in pairs.items()]
    parts += [
        section("Limits", limits_table(definition, best),
                "The limit of a step is max(link floor, (compute + communication CPU-seconds) / sum of CPU shares); a split's own limit puts the largest "
                "CPU-seconds / share of any rank in place of the sums. The floor is "
                "2(N-1)/N x gradient bytes / measured link rate (where links differ, the gradients once over the slowest, or 2(N-1) times over all of them, "
                "whichever takes longer); CPU-seconds are those of the run itself, of all ranks. Plain PyTorch "
                "runs the same batches without communication on the same nodes, every rank with an update of its own; lshdp shards "
                "the update, so the figure with one update in all stands beside it."
                + (" A pipeline's floor is its busiest link, its limit the busiest stage or link and the bubble, with the ranks' computing as measured."
                   if any(row.is_pipeline for row in best) else "")),
        section("Layouts", layouts_table(best)),
        section("Ranks", ranks_table(best)),
        section("Predicted against actual", prediction_table(best)),
        section("Bucket sizes of PyTorch's DDP, micro-batches of its pipelines" if any(row.mode == "pipeline" for row in rows)
                else "Bucket sizes of PyTorch's DDP", variants_table(rows), "The tables above take the best of them."),
        section("Predicted for more nodes", extrapolation_table(records),
                "Assumes nodes of the same kinds in the same proportions, links as fast as measured, a switch that carries all of them "
                "at once, and a ring of 2(N-1) hops of the measured latency."),
        section("Not measured", missing_table(best)),
    ]
    return "\n\n".join(part for part in parts if part)
