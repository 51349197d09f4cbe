"""Confirmatory claims: a family fixed before the runs, with Holm's correction over it.

A claim compares, paired by seed,

- two rows (`arm: sip, against: none`);
- a row with the best of several, chosen on validation (`against: [randaugment, cutmix]`);
- several rows with as many others, pooled: one number a seed, the mean of the paired differences
  (`arm: [sip_cutmix, sip_moex], against: [cutmix, moex]`).

A family has a block's claims, in the column of means if there is one, else in each column.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from sip.core.errors import UserError
from sip.core.text import join_first
from sip.tables.cells import Place, TableCell, same_images
from sip.tables.layout import MEAN, SEPARATOR, TableClaim, TableLayout, listed
from sip.tables.selected import Setting, choose
from sip.tables.statistics import LEVEL, Difference, holm, paired_difference

JOIN = " + "  # between the rows that a claim pools


@dataclass(frozen=True)
class ClaimResult:
    """What the runs say of a claim.

    Attributes:
        claim: In words.
        arm, against: Rows, those that are pooled joined.
        chosen_from: Rows that validation chose `against` from; 1 if it is stated.
        difference: Over the seeds that all rows have; None if rows are missing.
        holm_p: Corrected for the block's claims, missing ones too; None below 3 pairs.
        missing: Rows that were not found.
    """

    block: str
    column: str
    claim: str
    arm: str
    against: str
    chosen_from: int
    difference: Difference | None
    holm_p: float | None = None
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The claim in quotes, with its block if there are blocks."""
        return f"{self.claim!r}{f', {self.block}' if self.block else ''}"

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0 and the corrected p-value is below 5 %."""
        if self.difference is None or self.holm_p is None:
            return False
        return self.difference.estimate.excludes_zero and self.holm_p < 1 - LEVEL


def claim_results(found: Mapping[Place, TableCell], layout: TableLayout) -> list[ClaimResult]:
    """Return the results of all claims of the layout's family, block by block.

    Raises:
        UserError: The rows of a claim share no seed, or were tested on different images.
    """
    results = []
    for block in sorted({block for block, _, _ in found}):
        columns = {column for b, _, column in found if b == block}
        shown = [MEAN] if MEAN in columns else layout.column_order(columns)
        family = [
            _result({row: cell for (b, row, c), cell in found.items() if (b, c) == (block, column)},
                    claim, block, column)
            for column in shown
            for claim in layout.family or ()
        ]  # fmt: skip
        for result in family:
            _require_same_images(result, found, columns)
        results += _corrected(family)
    return results


def missing_notes(results: Sequence[ClaimResult], rows: Iterable[str]) -> list[str]:
    """Return a line for each claim that cannot be asked for want of rows."""
    rows = list(rows)
    return [
        f"Claim {result.name}: not computed, since "
        f"{_why_missing(result.missing, rows)}; it counts in Holm's correction too."
        for result in results
        if result.missing
    ]


def _why_missing(names: Sequence[str], rows: Sequence[str]) -> str:
    """Return why a claim has no rows of these names."""
    longer = {name: [r for r in rows if r.startswith(f"{name}{SEPARATOR}")] for name in names}
    texts = [
        f"several rows begin with {name}: {listed(found)}"
        for name, found in longer.items()
        if found
    ]
    if absent := [name for name, found in longer.items() if not found]:
        texts.append(f"no row is called {join_first(absent)}")
    return ", and ".join(texts)


def _result(
    rows: Mapping[str, TableCell], claim: TableClaim, block: str, column: str
) -> ClaimResult:
    arm, against = claim.arm, claim.against
    missing = tuple(name for name in dict.fromkeys((*arm, *against)) if name not in rows)
    num = len(against) if claim.is_choice else 1
    if missing:
        names = JOIN.join(arm), " or ".join(against) if claim.is_choice else JOIN.join(against)
        return ClaimResult(block, column, claim.claim, *names, num, None, missing=missing)
    if claim.is_choice:
        candidates: dict[Setting, Mapping[int, float]]
        candidates = {(name,): rows[name].validation for name in against}
        (best,), _, _ = choose(candidates, f"claim {claim.claim!r}")
        against = (best,)
    pairs = [(rows[a].values, rows[b].values) for a, b in zip(arm, against, strict=True)]
    seeds = sorted(set.intersection(*(values.keys() & others.keys() for values, others in pairs)))
    if not seeds:
        raise UserError(f"tables: rows of the claim {claim.claim!r} must have a seed in common")
    difference = paired_difference(
        [sum(values[seed] for values, _ in pairs) / len(pairs) for seed in seeds],
        [sum(others[seed] for _, others in pairs) / len(pairs) for seed in seeds],
    )
    names = JOIN.join(arm), JOIN.join(against)
    return ClaimResult(block, column, claim.claim, *names, num, difference)


def _require_same_images(
    result: ClaimResult, found: Mapping[Place, TableCell], columns: Iterable[str]
) -> None:
    """Check that the rows of a claim were tested on the same images, as far as that is stored.

    Args:
        columns: Those of the block, which a mean is of.

    Raises:
        UserError: They were not.
    """
    if result.difference is None:
        return
    names = zip(result.arm.split(JOIN), result.against.split(JOIN), strict=True)
    members = columns if result.column == MEAN else [result.column]
    for (arm, against), column in product(names, members):
        cells = [found.get((result.block, name, column)) for name in (arm, against)]
        runs, others = (cell.runs if cell else {} for cell in cells)
        for seed in sorted(runs.keys() & others.keys()):
            same_images(runs[seed], others[seed])


def _corrected(family: Sequence[ClaimResult]) -> list[ClaimResult]:
    """Return the results with Holm's p-values; a claim without one counts as p = 1."""
    p_values = [None if r.difference is None else r.difference.p_value for r in family]
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return [
        replace(result, holm_p=None if p is None else corrected)
        for result, p, corrected in zip(family, p_values, adjusted, strict=True)
    ]
