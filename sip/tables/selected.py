"""Settings chosen on validation, for each cell by itself: noise rate, sampling of captions, ...

What chooses sees validation numbers only: `choose` is given no run and no test number.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sip.core.errors import UserError
from sip.core.text import counted
from sip.records.read import TrainingRun
from sip.records.varied import plain
from sip.tables.layout import TableLayout
from sip.tables.words import metric_words

Setting = tuple[str, ...]  # the values of the chosen keys, as tables write them
NO_PART = "-"  # of a key that plays no part in a run


@dataclass(frozen=True)
class Choice:
    """What validation chose in one cell.

    Attributes:
        place: Block, row and column.
        setting: The values of the layout's `select` keys.
        value: Its validation metric, the mean over `num_seeds` seeds.
        num_candidates: Settings that it was chosen from.
        num_seeds: Seeds that all candidates have.
    """

    place: tuple[str, str, str]
    setting: Setting
    value: float
    num_candidates: int
    num_seeds: int

    def line(self, layout: TableLayout) -> str:
        """Return the choice in one line.

        Args:
            layout: Layout of the table; without `select` the setting's values name their keys.
        """
        pairs = zip(layout.select, self.setting, strict=True) if layout.select else ()
        stated = [f"{key}={value}" for key, value in pairs if value != NO_PART]
        values = ", ".join(stated or self.setting)
        return (
            f"{layout.place_name(*self.place)}: {values}, of {self.num_candidates} settings "
            f"({metric_words(layout.select_by)}: {self.value:.2f} over "
            f"{counted(self.num_seeds, 'seed')})"
        )


def select(
    runs: Iterable[TrainingRun], layout: TableLayout
) -> tuple[list[TrainingRun], list[Choice]]:
    """Keep of each cell the runs of the setting that is best on validation.

    Returns:
        The kept runs, and the choices of those cells that have such settings.

    Raises:
        UserError: The candidates of a cell share no seed, or have no validation number.
    """
    groups: dict[tuple[str, str, str], list[TrainingRun]] = defaultdict(list)
    for run in runs:
        groups[layout.block_of(run), layout.row_of(run), layout.column_of(run)].append(run)
    kept, choices = [], []
    for place, group in sorted(groups.items()):
        candidates: dict[Setting, dict[int, float]] = defaultdict(dict)
        for run in group:
            value = run.metric(layout.select_by)
            if value is None:
                raise UserError(f"table.select_by: {run.folder} has no {layout.select_by}")
            candidates[_setting(run, layout)][run.summary.seed] = value
        setting, value, num_seeds = choose(candidates, " × ".join(place))
        kept += [run for run in group if _setting(run, layout) == setting]
        if set(setting) != {NO_PART}:
            choices.append(Choice(place, setting, value, len(candidates), num_seeds))
    return kept, choices


def choose(
    candidates: Mapping[Setting, Mapping[int, float]], name: str
) -> tuple[Setting, float, int]:
    """Return the setting with the best mean validation number over the seeds that all have.

    Args:
        candidates: Setting -> seed -> validation number. Of equals, the first by name is taken.
        name: Name of the cell, for the error.

    Raises:
        UserError: There is no seed that all have.
    """
    shared = set.intersection(*(set(values) for values in candidates.values()))
    if not shared:
        listed = "; ".join(f"{', '.join(s)}: {sorted(v)}" for s, v in sorted(candidates.items()))
        raise UserError(
            f"tables: {name}: candidates must have a seed in common, got {listed}; run the "
            "missing ones, or leave settings out with table.where"
        )
    means = {s: sum(v[seed] for seed in shared) / len(shared) for s, v in candidates.items()}
    best = min(sorted(means), key=lambda setting: -means[setting])
    return best, means[best], len(shared)


def _setting(run: TrainingRun, layout: TableLayout) -> Setting:
    return tuple(plain(run.value(key)) for key in layout.select)
