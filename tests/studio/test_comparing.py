"""Blind trials, answers and their table, against statsmodels and scipy."""

import csv
import io
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

import sip
from sip.core.errors import UserError
from sip.studio.compare_tab import CompareState, answered
from sip.studio.comparing import (
    AnswerFile,
    BlindAnswer,
    as_csv,
    as_markdown,
    common_originals,
    open_runs,
    preferences,
    trials,
    write_tables,
)


def test_trials_compare_the_same_original_and_follow_from_the_seed(
    runs: dict[str, sip.Run],
) -> None:
    listed = trials(runs, 0)
    assert sorted(one.left.sample_id for one in listed) == sorted(common_originals(runs.values()))
    assert len(listed) == 6
    for one in listed:
        assert one.left.sample_id == one.right.sample_id
        assert {one.left_run, one.right_run} == set(runs)
        assert one.left in runs[one.left_run] and one.right in runs[one.right_run]
    assert trials(runs, 0) == listed
    seen = [trials(runs, seed) for seed in range(40)]
    sides = Counter(one.left_run for some in seen for one in some)
    assert set(sides) == set(runs) and min(sides.values()) > 80  # of 240
    assert len({tuple(one.left.sample_id for one in some) for some in seen}) > 30
    assert len({one.left.variant for some in seen for one in some}) == 2


def test_three_runs_are_compared_in_pairs(runs: dict[str, sip.Run]) -> None:
    three = runs | {"third": next(iter(runs.values()))}
    pairs = Counter(frozenset((one.left_run, one.right_run)) for one in trials(three, 0))
    assert set(pairs.values()) == {6} and len(pairs) == 3


def test_answers_are_appended_and_known_again(runs: dict[str, sip.Run], tmp_path: Path) -> None:
    answers = AnswerFile(tmp_path / "answers.csv")
    listed = trials(runs, 0)
    assert answers.read() == [] and answers.open_trials(listed, "a", 0) == listed
    first = answers.add(listed[0], "left", "a", 0)
    before = answers.file.read_text()
    second = answers.add(listed[1], "right", 'b "c", d', 0)
    assert answers.file.read_text().startswith(before)
    assert answers.read() == [first, second]
    assert first.chosen_run == listed[0].left_run and second.chosen_run == listed[1].right_run
    assert answers.open_trials(listed, "a", 0) == listed[1:]
    assert answers.open_trials(listed, "a", 1) == listed
    answers.file.write_text(before.replace(f",{first.chosen_run}\n", ",nobody\n"))
    with pytest.raises(UserError, match="row 2, column chosen_run, got nobody; fix or delete"):
        answers.read()
    answers.file.write_text(before.replace(first.sample_id, ""))
    with pytest.raises(UserError, match="row 2, column sample_id, got nothing"):
        answers.read()


def answer(left: str, right: str, chosen: str) -> BlindAnswer:
    return BlindAnswer(
        "2026-11-29T00:00:00+00:00", "r", "0", "s", "c", left, right, "1", "2", chosen
    )


@pytest.mark.parametrize(("wins", "num"), [(0, 5), (3, 5), (14, 20), (20, 20), (61, 100)])
def test_intervals_and_p_are_those_of_other_libraries(wins: int, num: int) -> None:
    given = [
        answer(*(("a", "b") if n % 2 else ("b", "a")), "a" if n < wins else "b") for n in range(num)
    ]
    (row,) = preferences(given)
    assert (row.run, row.other, row.wins, row.trials) == ("a", "b", wins, num)
    low, high = proportion_confint(wins, num, method="beta")
    assert (row.low, row.high) == pytest.approx((low, high), abs=1e-9)
    tail = min(binom.cdf(wins, num, 0.5), binom.sf(wins - 1, num, 0.5))
    assert row.p_value == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert row.p_holm == row.p_value and row.share == wins / num


def test_the_table_has_a_row_a_pair_and_corrects_for_their_number(tmp_path: Path) -> None:
    given = [answer("a", "b", "a")] * 12 + [answer("a", "c", "c")] * 8 + [answer("c", "b", "c")] * 6
    table = preferences(given, ["b", "a", "c"])
    assert [(row.run, row.other, row.wins) for row in table] == [
        ("b", "a", 0), ("a", "c", 0), ("b", "c", 0),
    ]  # fmt: skip
    p = [row.p_value for row in table]
    assert table[0].p_holm == pytest.approx(3 * p[0]) and table[2].p_holm == pytest.approx(p[2])
    assert len(preferences(given, ["a", "b"])) == 1 and preferences([], ["a"]) == []
    markdown, file = write_tables(table, tmp_path / "answers.csv")
    assert markdown.read_text() == as_markdown(table) + "\n"
    cells = [cell.strip() for cell in markdown.read_text().splitlines()[2].split("|")]
    assert cells[1:7] == ["b", "a", "0", "12", "0.000", "[0.000, 0.265]"]
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert float(rows[0]["p_holm"]) == table[0].p_holm and file.read_text() == as_csv(table)


def test_runs_that_cannot_be_compared_are_refused(
    folders: list[Path],
    runs: dict[str, sip.Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert list(open_runs(folders)) == [folder.name for folder in folders]
    moved_store = Path(shutil.copytree(folders[0].parent, tmp_path / "store"))
    assert {run.store for run in open_runs(folders, moved_store).values()} == {moved_store}
    for wrong in ([], folders[:1], [folders[0], folders[0]]):
        with pytest.raises(UserError, match="^runs: must be two or more different ones"):
            open_runs(wrong)
    one, other = runs.values()
    moved = [replace(image, sample_id=f"other {image.sample_id}") for image in other]
    monkeypatch.setattr(other, "_images", moved)
    with pytest.raises(UserError, match="^runs: must have images of the same originals, got none"):
        common_originals([one, other])


def test_a_trial_that_cannot_be_shown_cannot_be_answered(
    runs: dict[str, sip.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, listed = AnswerFile(tmp_path / "a.csv"), trials(runs, 0)
    state = CompareState(runs, {}, listed, "me", 0)
    state, *_ = answered(state, "left", answers)
    assert state.trials == listed[1:]

    def gone(*_: object) -> None:
        raise UserError("the image is gone")

    monkeypatch.setattr("sip.studio.html.figure", gone)
    with pytest.raises(UserError, match="the image is gone"):
        answered(state, "left", answers)  # the page keeps this state
    assert answered(state, "left", answers)[0] is state and not state.trials
    assert len(answers.read()) == 2
