"""Compare: runs on the same originals, blind answers, and their table.

Question of each trial: which of two images shows the same class as the original? Each pair of runs
is compared on each original that both have; the sides, the variants and the order of the trials
follow from a seed.
"""

import csv
import os
import random
import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from sip.api.run import Run, RunImage
from sip.core.csv_table import csv_text, open_csv
from sip.core.errors import UserError
from sip.core.files import plain_disk_errors, write_atomically
from sip.core.text import reason_of
from sip.core.uri import Place
from sip.tables.statistics import holm

QUESTION = "Which shows the same class as the original?"
CONFIDENCE = 0.95
_lock = threading.Lock()  # answers of several browser windows


@dataclass(frozen=True)
class BlindTrial:
    """Two images of one original.

    Attributes:
        left, right: The images.
        left_run, right_run: Names of their runs, which the page does not show.
    """

    left: RunImage
    right: RunImage
    left_run: str
    right_run: str


@dataclass(frozen=True)
class BlindAnswer:
    """An answer, a row of the file of answers.

    Attributes:
        time: When it was given, ISO 8601 in UTC.
        rater: Who gave it.
        seed: Seed of the trials.
        sample_id, class_name: The original.
        left_run, right_run, left_image, right_image: What was shown.
        chosen_run: The run that was chosen.
    """

    time: str
    rater: str
    seed: str
    sample_id: str
    class_name: str
    left_run: str
    right_run: str
    left_image: str
    right_image: str
    chosen_run: str


ANSWER_COLUMNS = tuple(item.name for item in fields(BlindAnswer))


@dataclass(frozen=True)
class Preference:
    """How often one run was chosen over another.

    Attributes:
        run, other: Names of the runs.
        wins, trials: Answers for `run`, of how many.
        low, high: Bounds of its share, exact (Clopper-Pearson), 95 %.
        p_value: Exact binomial p of the share being 0.5, two-sided.
        p_holm: The same after Holm's correction for the pairs of the table.
    """

    run: str
    other: str
    wins: int
    trials: int
    low: float
    high: float
    p_value: float
    p_holm: float

    @property
    def share(self) -> float:
        """Share of the answers for `run`."""
        return self.wins / self.trials


def open_runs(folders: Sequence[Path], store: Place | None = None) -> dict[str, Run]:
    """Return the runs by name.

    Args:
        folders: Their folders.
        store: The store; None for the one that each run names.

    Raises:
        UserError: There are fewer than two, two have one name, or one cannot be read.
    """
    names = [folder.name for folder in folders]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UserError(f"runs: must be two or more different ones, got {', '.join(names) or 0}")
    place = None if store is None else str(store)
    return {folder.name: Run(folder, place) for folder in folders}


def common_originals(runs: Iterable[Run]) -> list[str]:
    """Return the sample ids of the originals that every run has images of.

    Raises:
        UserError: There is none.
    """
    there = [
        {(image.sample_id, image._listed_original.sha256): None for image in run} for run in runs
    ]
    common = [key for key in there[0] if all(key in others for others in there[1:])]
    if not common:
        raise UserError("runs: must have images of the same originals, got none in common")
    return [sample_id for sample_id, _ in common]


def trials(runs: dict[str, Run], seed: int) -> list[BlindTrial]:
    """Return the trials of runs, in an order by seed."""
    order = random.Random(f"trials {seed}")
    found = []
    for sample_id in common_originals(runs.values()):
        chosen = {name: order.choice(run.of(sample_id)) for name, run in runs.items()}
        for pair in combinations(runs, 2):
            left, right = order.sample(pair, 2)
            found.append(BlindTrial(chosen[left], chosen[right], left, right))
    order.shuffle(found)
    return found


class AnswerFile:
    """A CSV file of answers, to which each is appended when it is given.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> list[BlindAnswer]:
        """Return the answers.

        Raises:
            UserError: The file cannot be read, or a row is wrong.
        """
        if not self.file.exists():
            return []
        try:
            table = open_csv(self.file, ANSWER_COLUMNS)
            lines = [(table.line_num, cells) for cells in table]
        except (OSError, ValueError, csv.Error) as error:
            raise self._refused("a CSV file in UTF-8", reason_of(error)) from error
        found = []
        for line, cells in lines:
            for name in ANSWER_COLUMNS:
                if not cells.get(name):
                    raise self._refused(f"given in row {line}, column {name}", "nothing")
            answer = BlindAnswer(*(str(cells[name]) for name in ANSWER_COLUMNS))
            if answer.chosen_run not in (answer.left_run, answer.right_run):
                rule = f"left_run or right_run in row {line}, column chosen_run"
                raise self._refused(rule, answer.chosen_run)
            found.append(answer)
        return found

    def add(self, trial: BlindTrial, chosen: str, rater: str, seed: int) -> BlindAnswer:
        """Append the answer to a trial.

        Args:
            trial: What was shown.
            chosen: "left" or "right".
            rater: Who answered.
            seed: Seed of the trials.

        Raises:
            UserError: It cannot be written.
        """
        answer = BlindAnswer(
            datetime.now(UTC).isoformat(timespec="seconds"),
            rater,
            str(seed),
            trial.left.sample_id,
            trial.left.class_name,
            trial.left_run,
            trial.right_run,
            trial.left.id,
            trial.right.id,
            {"left": trial.left_run, "right": trial.right_run}[chosen],
        )
        with _lock, plain_disk_errors(self.file, "paths.runs"):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            head = () if self.file.exists() else (ANSWER_COLUMNS,)
            with self.file.open("a", encoding="utf-8", newline="") as file:
                file.write(csv_text([*head, astuple(answer)]))
                file.flush()
                os.fsync(file.fileno())
        return answer

    def open_trials(self, listed: Sequence[BlindTrial], rater: str, seed: int) -> list[BlindTrial]:
        """Return the trials that a rater has not answered yet."""
        done = {
            (answer.left_image, answer.right_image)
            for answer in self.read()
            if answer.rater == rater and answer.seed == str(seed)
        }
        return [one for one in listed if (one.left.id, one.right.id) not in done]

    def _refused(self, rule: str, got: str) -> UserError:
        return UserError(f"{self.file}: must be {rule}, got {got}; fix or delete the file")


def preferences(answers: Iterable[BlindAnswer], names: Sequence[str] = ()) -> list[Preference]:
    """Return the table of answers, a row for each pair of runs that was compared.

    Args:
        answers: The answers.
        names: Only pairs of these runs, in this order; () for all, by name.
    """
    from scipy.stats import binomtest

    won: dict[tuple[str, str], list[bool]] = {}
    for answer in answers:
        shown = {answer.left_run, answer.right_run}
        if not names or shown <= set(names):
            first, second = [n for n in names if n in shown] if names else sorted(shown)
            won.setdefault((first, second), []).append(answer.chosen_run == first)
    tests = {pair: binomtest(sum(wins), len(wins)) for pair, wins in won.items()}
    corrected = holm([float(test.pvalue) for test in tests.values()])
    found = []
    for ((run, other), test), p_holm in zip(tests.items(), corrected, strict=True):
        low, high = map(float, test.proportion_ci(CONFIDENCE, method="exact"))
        p_value = float(test.pvalue)
        found.append(Preference(run, other, test.k, test.n, low, high, p_value, p_holm))
    return found


HEAD = ("run", "over", "chosen", "answers", "share", "95 % interval", "p", "p (Holm)")


def table_rows(table: Sequence[Preference]) -> list[tuple[str, ...]]:
    """Return the cells of the table, for people."""
    return [
        (
            row.run,
            row.other,
            str(row.wins),
            str(row.trials),
            f"{row.share:.3f}",
            f"[{row.low:.3f}, {row.high:.3f}]",
            f"{row.p_value:.3g}",
            f"{row.p_holm:.3g}",
        )
        for row in table
    ]


def as_markdown(table: Sequence[Preference]) -> str:
    """Return the table in Markdown."""
    import pandas as pd

    frame = pd.DataFrame(table_rows(table), columns=HEAD)
    return str(frame.to_markdown(index=False, disable_numparse=True))


def as_csv(table: Sequence[Preference]) -> str:
    """Return the table as CSV, its numbers whole."""
    head = [*(item.name for item in fields(Preference)), "share"]
    return csv_text([head, *([*astuple(row), row.share] for row in table)])


def write_tables(table: Sequence[Preference], answers: Path) -> tuple[Path, Path]:
    """Write the table next to the answers, as Markdown and CSV; return the files."""
    files = (
        answers.with_name(f"{answers.stem}_table.md"),
        answers.with_name(f"{answers.stem}_table.csv"),
    )
    for file, text in zip(files, (as_markdown(table) + "\n", as_csv(table)), strict=True):
        write_atomically(file, text)
    return files
