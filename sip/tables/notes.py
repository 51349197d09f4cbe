"""Notes below a table: what its numbers mean, and how far to trust them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sip.core.text import counted, join_first
from sip.records.read import IN_PERCENT, TrainingRun
from sip.tables.cells import Comparison, Place, TableCell, compare
from sip.tables.claims import JOIN, ClaimResult
from sip.tables.layout import AUTO, MEAN, NONE, PARTS, SEPARATOR, TableLayout
from sip.tables.numbers import p_text, value_text
from sip.tables.selected import Choice, Setting, choose
from sip.tables.words import heading, metric_name

QUOTED = "test/top1"  # metric of the published gains
SOURCE = "arXiv 2302.02070, mean over its seven data sets"


def value_note(layout: TableLayout) -> str:
    """Return what a cell holds."""
    return (
        f"{heading(layout.value)}: mean ± half-width of the Student-t 95 % interval over seeds "
        "(number of seeds); no interval below 3 seeds."
    )


def control_note(
    layout: TableLayout, found: Mapping[Place, TableCell], compared: Sequence[Comparison]
) -> list[str]:
    """Return what bold means, or why nothing is compared."""
    if compared and layout.family is None:
        controls = dict.fromkeys(comparison.against for comparison in compared)
        names = " or ".join(map(layout.row_name, controls))
        against = "each of its parts" if layout.control == PARTS else names
        return [
            f"Bold: differs from {against}; the 95 % interval of the paired difference excludes 0, "
            "and p < 0.05 after Holm's correction for the comparisons of the column.",
            *_chosen_controls(layout, found),
        ]
    if compared:
        return _chosen_controls(layout, found)
    if layout.control in (None, PARTS, AUTO):
        return []
    rows = join_first(list(map(layout.row_name, _rows(layout, found))), 6)
    return [
        f"Nothing is compared: no row is called {layout.control} (table.control); there are {rows}."
    ]


def _chosen_controls(layout: TableLayout, found: Mapping[Place, TableCell]) -> list[str]:
    """Return which row each block is compared with, if there was a choice."""
    lines = []
    for block in sorted({block for block, _, _ in found}):
        rows = _rows(layout, {place: cell for place, cell in found.items() if place[0] == block})
        candidates = layout.control_candidates(rows)
        if len(candidates) < 2:
            continue
        begins = NONE if layout.control == AUTO else layout.control
        why = f"{len(candidates)} rows begin with {begins}"
        if layout.control == AUTO and candidates[0].split(SEPARATOR)[0] != NONE:
            why = "no row is without augmentation"
        first, *others = map(layout.row_name, candidates)
        of = f"{block}: c" if block else "C"
        lines.append(
            f"{of}ompared with {first}, the first of them, since {why}; table.control= names "
            f"another: {' | '.join(others)}."
        )
    return lines


def _rows(layout: TableLayout, found: Mapping[Place, TableCell]) -> list[str]:
    return layout.order({row for _, row, _ in found})


def claim_notes(
    claims: Sequence[ClaimResult], compared: Sequence[Comparison], layout: TableLayout
) -> list[str]:
    """Return what is tested, and that all else explores."""
    if layout.family is None or not (claims or compared):
        return []
    explores = "Differences without a p-value explore: they suggest claims, and confirm none."
    if not claims:
        return [explores]
    num = max(Counter(claim.block for claim in claims).values())
    pooled = any(claim.is_pooled for claim in layout.family)
    of_all = "; a pooled claim has one number a seed, the mean over its pairs" if pooled else ""
    return [
        f"Confirmatory: {counted(num, 'claim')} fixed before the runs; paired t-tests, p after "
        f"Holm's correction over {'it' if num == 1 else 'them'}{of_all}. Bold: the 95 % interval "
        f"excludes 0 and p < 0.05. {explores}"
    ]


def tuning_notes(
    claims: Sequence[ClaimResult], choices: Sequence[Choice], layout: TableLayout
) -> list[str]:
    """Return a line for each claim whose arm was tuned among more settings than its baseline.

    Rows without such settings, such as none and CutMix, are no tuned baselines.
    """
    nums: dict[tuple[str, str], int] = {}
    for choice in choices:
        block, row, _ = choice.place
        nums[block, row] = max(nums.get((block, row), 1), choice.num_candidates)
    lines = []
    for claim in claims:
        for row, other in zip(claim.arm.split(JOIN), claim.against.split(JOIN), strict=False):
            arm, against = nums.get((claim.block, row)), nums.get((claim.block, other))
            if arm and against and arm > against:
                lines.append(
                    f"Unequal tuning: claim {claim.name}: validation chose "
                    f"{layout.row_name(row)} from {counted(arm, 'setting')}, "
                    f"{layout.row_name(other)} from {against}; give both as many."
                )
    return list(dict.fromkeys(lines))


def comparison_notes(
    layout: TableLayout, compared: Sequence[Comparison], claims: Sequence[ClaimResult]
) -> list[str]:
    """Return how rows are compared."""
    if not (compared or claims):
        return []
    lines = [
        f"Difference{_points(layout)}: of the row to the one it stands against, paired by seed, "
        "between runs tested on the same images; mean ± half-width of the Student-t 95 % "
        "interval (number of pairs)."
    ]
    if layout.family is None:
        lines.append(
            "p (Holm): of the paired t-test over seeds, after Holm's correction for the "
            "comparisons of the column; it needs 3 pairs."
        )
    unchecked = [c for c in compared if not c.checked and c.column != MEAN]
    if unchecked:
        lines.append(
            f"{counted(len(unchecked), 'comparison')} without stored predictions: not checked that "
            "both were tested on the same images."
        )
    return lines


def _points(layout: TableLayout) -> str:
    return ", in points" if layout.value.endswith(IN_PERCENT) else ""


def gain_notes(found: Mapping[Place, TableCell], layout: TableLayout) -> list[str]:
    """Return the gain over the best baseline and the published one, a line per block."""
    if layout.arm is None:
        return []
    lines, metric = [], metric_name(layout.value)
    for block in sorted({block for block, _, _ in found}):
        columns = {column for b, _, column in found if b == block}
        column = MEAN if MEAN in columns else min(columns)
        arm = found.get((block, layout.arm, column))
        cells = {name: found.get((block, name, column)) for name in layout.baselines}
        baselines = {name: cell for name, cell in cells.items() if cell is not None}
        values: dict[Setting, Mapping[int, float]]
        values = {(n,): cell.validation for n, cell in baselines.items() if cell.validation}
        if arm is None or not values or not set.intersection(*map(set, values.values())):
            continue
        (name,), _, _ = choose(values, block)  # never on test
        best = baselines[name]
        compared = compare(arm, best, layout.value)
        if compared is None:
            continue
        ours = value_text(compared.difference.estimate, "+")
        line = (
            f"{block}: {layout.row_name(layout.arm)} against the best baseline on validation "
            f"({layout.row_name(best.row)}), {layout.column_name(column) or metric}: {ours}"
            f"{' points' if layout.value.endswith(IN_PERCENT) else ''}, "
            f"p before correction {p_text(compared.difference.p_value)}"
        )
        if block in layout.quoted and layout.value == QUOTED:
            line += f"; the paper reports {layout.quoted[block]:+.2f} ({SOURCE})"
        lines.append(line + ".")
    return lines


def machine_notes(machines: Mapping[tuple[str, str], int]) -> list[str]:
    """Return what computed the runs, and a warning if that differs: rounding differs with it.

    Args:
        machines: (machine, library versions) -> number of runs.
    """
    lines = []
    for what, place in (("MACHINES", 0), ("LIBRARY VERSIONS", 1)):
        nums: Counter[str] = Counter()
        for names, num in machines.items():
            nums[names[place]] += num
        if len(nums) > 1:
            several = "; ".join(f"{text} ({counted(n, 'run')})" for text, n in nums.most_common())
            lines.append(f"MIXED {what}, which alone moves single runs: {several}.")
    if len(machines) == 1:
        lines.append(f"Machine: {'; '.join(next(iter(machines)))}.")
    return lines


def machine_of(run: TrainingRun) -> tuple[str, str]:
    """Return the machine and the library versions of a run."""
    machine = run.summary.machine
    libraries = ", ".join(f"{name} {version}" for name, version in run.summary.versions.items())
    return machine.line() if machine else "not recorded", libraries


def generator_note(found: Mapping[Place, TableCell]) -> list[str]:
    """Return a note if the seeds of a row share one generated set."""
    rows = []
    for (_, row, _), cell in found.items():
        runs = [run for run in cell.runs.values() if run.summary.num_generated]
        seeds = {run.value("prompts.seed") for run in runs}
        is_whole = all(
            run.summary.shots is None and run.value("dataset.fraction") in (None, 1) for run in runs
        )
        if len(runs) > 1 and len(seeds) == 1 and None not in seeds and is_whole:
            rows.append(row)
    if not rows:
        return []
    return [
        f"All seeds share one generated set ({join_first([*dict.fromkeys(rows)], 4)}): the "
        "intervals leave out the chance of the generator; prompts.seed='${seed}' gives each seed "
        "its own."
    ]


def runs_note(runs: Sequence[TrainingRun], source: str) -> str:
    """Return which runs the table is made from; `source` names the file that they are read from."""
    if not runs:
        return f"0 runs{source}: there is nothing to show."
    commits = sorted({str(run.summary.commit)[:10] for run in runs})
    of = _experiments([{name for name in run.summary.experiments if name} for run in runs])
    return (
        f"{counted(len(runs), 'run')}{of}, commit {', '.join(commits)}{source}. "
        "Checkpoints are chosen on validation; the test split is read once per run."
    )


def _experiments(names: Sequence[set[str]]) -> str:
    """Return what runs of these experiments are of; those of all come first, if there are any."""
    every, common = set[str]().union(*names), names[0].intersection(*names) if names else set()
    if not every:
        return ""
    of = f" of {', '.join(sorted(common or every))}"
    others = [f"{sum(n in one for one in names)} shared with {n}" for n in sorted(every - common)]
    return f"{of} ({', '.join(others)})" if common and others else of


def unfinished_note(runs: Sequence[TrainingRun]) -> list[str]:
    """Return a note if most runs were best at their last step."""
    num = sum(run.summary.best_step == run.summary.steps > 0 for run in runs)
    if num <= len(runs) / 2:
        return []
    return [
        f"The best checkpoint is that of the last step in {num} of {counted(len(runs), 'run')}: "
        "training may be unfinished."
    ]
