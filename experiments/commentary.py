# Sentences computed from the figures: ratios to the equal split, to PyTorch, to the limit; predictions; what is required.
import statistics

from experiments import collect, disturbance, spread
from experiments.cells import DONE


def done(row):
    return row is not None and row.status == DONE and row.step is not None


def verdict(value, bound, at_least):
    """How a figure stands to what the definition requires; nothing if it requires nothing."""
    if bound is None:
        return ""
    met = value >= bound if at_least else value <= bound
    return f" (required: {'at least' if at_least else 'at most'} {bound:g}; {'met' if met else '**missed**'})"


def times_as_fast(ours, theirs, required=None):
    value = theirs.step / ours.step
    return f"{value:.2f} times as fast as {theirs.case}{verdict(value, required, True)}"


def ratios(definition, pair, cases):
    """Our first case beside lshdp's equal split and each baseline, then the other comparisons that are required.

    Where a definition compares with a case of its choice (beside), only those that are required.
    """
    required = definition.required.get("ratios", {}).get(pair, {})
    lines = []
    mine = [row for row in cases.values() if row.program == "lshdp" and done(row)]
    for ours in mine:
        wanted = required.get(ours.case, {})
        if ours is mine[0] and not definition.beside:
            others = [row for row in cases.values() if row is not ours and row.mode != "plain" and row.wire == ours.wire
                      and row.policy in ("equal", "solved")]
        else:
            others = [cases.get(name) for name in wanted]
        texts = [times_as_fast(ours, row, wanted.get(row.case)) for row in others if done(row) and row.total == ours.total]
        if texts:
            lines.append(f"{pair}: {ours.case} ({ours.step:.3f} s a step) is " + ", ".join(texts) + ".")
    named = dict.fromkeys(name for ours, wanted in required.items() for name in (ours, *wanted))
    missing = [name for name in named if not done(cases.get(name))]
    if missing:
        lines.append(f"{pair}: required comparisons are missing, because there is no figure of {', '.join(missing)}.")
    return lines


def limits(definition, pair, cases):
    lines = []
    for row in cases.values():
        if done(row) and row.is_pipeline and row.over_limit is not None:
            lines.append(f"{pair}: {row.case} takes {row.over_limit:.2f} times the {row.limit:.3f} s that its busiest stage or link allows with the "
                         f"pipeline's bubble{verdict(row.over_limit, definition.required.get('limit'), False)}.")
        elif done(row) and row.policy == "solved" and row.over_limit is not None:
            bound = "the link" if row.floor >= row.limit else "CPU time"
            required = definition.required.get("limit")
            lines.append(f"{pair}: {row.case} takes {row.over_limit:.2f} times the limit of {row.limit:.3f} s, which {bound} sets"
                         f"{verdict(row.over_limit, required, False)}.")
            lines[-1] = lines[-1][:-1] + f"; {row.over_split_limit:.2f} times what the rank that has most to do for its share allows."
        elif done(row) and row.policy == "equal" and row.split_limit is not None:
            lines.append(f"{pair}: {row.case} takes {row.over_split_limit:.2f} times the {row.split_limit:.3f} s that the rank with most to do for "
                         "its share allows.")
        elif done(row) and row.program == "lshdp" and row.policy == "solved":
            lines.append(f"{pair}: the limit of {row.case} is not known: CPU time or shares were not measured.")
    return lines


def compute_cost(definition, pair, cases):
    plain = next((row for row in cases.values() if row.mode == "plain" and done(row)), None)
    lines = []
    for row in cases.values():
        if not done(row) or row.program != "lshdp" or row.compute_cpu is None or plain is None or row.batches != plain.batches:
            continue
        whole, once = collect.plain_cpu_seconds(plain)
        text = f"{pair}: computing a step of {row.case} costs {row.compute_cpu / whole:.3f} times the CPU time of plain PyTorch on the same batches"
        text += verdict(row.compute_cpu / whole, definition.required.get("compute"), False)
        lines.append(text + (f"; with PyTorch's update counted once in all, {row.compute_cpu / once:.3f} times." if once else "."))
    return lines


def predictions(definition, rows):
    errors = {f"{row.pair} {row.case}": abs(row.prediction_error) for row in rows if row.prediction_error is not None}
    if not errors:
        return []
    average, worst = statistics.fmean(errors.values()), max(errors, key=errors.get)
    required = definition.required
    return [f"Predicted step times are off by {100 * average:.1f} % on average"
            f"{verdict(average, required.get('prediction_mean'), False)} and {100 * errors[worst]:.1f} % at worst, {worst}"
            f"{verdict(errors[worst], required.get('prediction_worst'), False)}, over {len(errors)} cases."]


def free_totals(pair, cases):
    free = next((row for row in cases.values() if row.policy == "free" and done(row)), None)
    fixed = next((row for row in cases.values() if row.policy == "solved" and row.program == "lshdp" and done(row)), None)
    if free is None or fixed is None or free.mode != fixed.mode:
        return []
    gain = free.samples_per_second / fixed.samples_per_second
    return [f"{pair}: left to choose the total, the solver takes {free.total} in place of {fixed.total}: {gain:.2f} times the samples per second."]


def scaling(definition, rows):
    """Samples per second on more nodes, per percent of a core, beside the fewest."""
    if len(definition.clusters) < 2 or not definition.extrapolate:
        return []
    cpus = {cluster.name: sum(cluster.cpus) for cluster in definition.clusters}
    lines = []
    for model in definition.models:
        mine = [row for row in rows if row.model == model.name and row.program == "lshdp" and row.policy == "solved" and done(row)]
        rates = [row.samples_per_second / cpus[row.cluster] for row in mine]
        for row, rate in list(zip(mine, rates))[1:]:
            lines.append(f"{row.pair}: {rate / rates[0]:.2f} of {mine[0].cluster}'s samples per second and share of CPU.")
    return lines


def text(definition, rows, records):
    best = collect.best_variants(rows)
    lines = []
    for pair, cases in collect.pairs_of(rows).items():
        lines += ratios(definition, pair, cases) + limits(definition, pair, cases) + compute_cost(definition, pair, cases)
        lines += free_totals(pair, cases)
    lines += spread.sentences(definition, rows)
    lines += scaling(definition, best) + predictions(definition, best)
    lines += disturbance.sentences([share for row in rows for share in row.stolen])
    missing = [row for row in best if row.status != DONE]
    if missing:
        lines.append(f"{len(missing)} of {len(best)} cases have no figure; the last table says why.")
    return "\n".join(f"- {line}" for line in lines)
