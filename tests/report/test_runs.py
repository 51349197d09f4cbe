"""Which runs belong together, and what they are called."""

from pathlib import Path

import pytest

from sip.core.errors import UserError
from sip.report.images import ReportImage, choose
from sip.report.results import groups
from sip.report.runs import find_runs, header_of
from tests.records.made_up import generation_summary, write_run
from tests.report.made_up import make_run


def test_arms_are_named_by_what_was_varied(tmp_path: Path) -> None:
    for number, noise in enumerate((0.3, 0.7)):
        for seed in range(2):
            recipe = {"seed": seed, "offline": {"prompts": {"noise_rate": noise}, "class": "X"}}
            folder = make_run(tmp_path, "sip", seed, recipe=recipe, fingerprint=f"{number}{seed}")
            folder.rename(f"{folder}-{number}")
    make_run(tmp_path, "none", 0)
    runs = find_runs(tmp_path / "runs", None, None)
    assert [run.arm for run in runs] == ["none", *["sip · noise_rate 0.3"] * 2,
                                         *["sip · noise_rate 0.7"] * 2]  # fmt: skip
    arms = groups(runs)["resnet50 on pets, 2 shots a class"]
    assert [len(arm.runs) for arm in arms] == [1, 2, 2]


def test_two_runs_of_one_cell_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path, "sip", 0).rename(tmp_path / "runs" / "twin")
    make_run(tmp_path, "sip", 0)
    with pytest.raises(UserError, match="one run of sip and seed 0, got twin and resnet50"):
        groups(find_runs(tmp_path / "runs", None, None))


def test_folders_that_are_no_training_run_are_left_alone(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "none", 0)
    write_run(tmp_path / "runs" / "generate-digits", generation_summary())
    assert [run.record.folder for run in find_runs(tmp_path / "runs", "trial", None)] == [folder]


def test_the_question_comes_from_the_header_of_the_sweep(tmp_path: Path) -> None:
    said = header_of("arms", tmp_path)
    assert said["Question"] == "how do the arms compare, seed by seed, with one backbone?"
    assert said["Command"].splitlines()[1] == "python -m sip.tables experiment=main"
    assert header_of("unheard_of", tmp_path) == {}


def drawn(number: int, status: str, label: int, arm: str) -> ReportImage:
    row = {"id": f"{number:03d}", "sample_id": f"{number}", "status": status, "label": label}
    row |= {"noise_rate": 0.5, "variant": 0, "label_similarity": number / 1000}
    return ReportImage(row, None, None, {arm: None})


def test_the_choice_is_spread_over_classes_and_arms() -> None:
    many = [drawn(n, "ok", 0, "a") for n in range(300)]
    many += [drawn(300 + n, "ok", 1, "b") for n in range(5)]
    many += [drawn(400 + n, "failed", 0, "a") for n in range(90)]
    chosen = choose(many, 40)
    assert len(chosen) == 40
    of = {view: [one for one in chosen if view in one.views] for view in
          ("spread", "worst", "left out")}  # fmt: skip
    assert [len(of[view]) for view in of] == [30, 10, 10]
    assert sum(one.row["label"] == 1 for one in of["spread"]) == 5  # the rare class, in full
    assert {one.row["id"] for one in of["worst"]} == {f"{n:03d}" for n in range(10)}
    assert max(int(one.row["id"]) for one in of["left out"]) == 481  # from all over
    assert choose([], 40) == []
