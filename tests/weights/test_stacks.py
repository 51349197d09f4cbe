"""What the folder of a stack says of the images that it learnt from."""

import json
from pathlib import Path

import pytest

from sip.core.stages import StageLog
from sip.jobs.splits import load_splits
from sip.jobs.train_job import TrainJob
from sip.weights.stacks import LEARNT, learnt_by_stacks, name_of_pool, pool_remarks
from tests.composing import composed

POOL = [("aa", 0), ("bb", 1), ("cc", 1)]


def stack(folder: Path, **made_from: object) -> Path:
    """Write what a stack is made from; return the folder of its generator."""
    facts = {"part": "pretrain", "labels": True, "images": name_of_pool(POOL, True)} | made_from
    folder.mkdir(parents=True)
    (folder / "stack.json").write_text(json.dumps(facts))
    return folder / "diffusion"


def test_a_stack_of_other_images_than_the_part_pretrain_is_said(tmp_path: Path) -> None:
    model = str(stack(tmp_path / "patch"))
    assert pool_remarks([model, f"{tmp_path}/patch/scorer", "a/b"], reversed(POOL)) == []
    for other in (POOL[:2], [*POOL[:2], ("dd", 1)], [*POOL[:2], ("cc", 0)]):
        (line,) = pool_remarks([model, f"{tmp_path}/patch/scorer"], other)
        assert line.startswith("stack patch learnt from 3 (")
        assert f"part pretrain has {len(other)} (" in line and "may have seen images of" in line


@pytest.mark.parametrize("facts", [{"part": "train"}, {"images": None}])
def test_what_says_nothing_of_the_part_is_not_compared(tmp_path: Path, facts: object) -> None:
    assert pool_remarks([str(stack(tmp_path / "s", **facts))], POOL[:1]) == []  # type: ignore[arg-type]


def test_labels_count_if_the_stack_was_told_them(tmp_path: Path) -> None:
    facts = {"labels": False, "images": name_of_pool(POOL, False)}
    other = [(sha256, 1 - label) for sha256, label in POOL]
    assert pool_remarks([str(stack(tmp_path / "s", **facts))], other) == []


def test_a_training_says_it_before_it_generates(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = stack(tmp_path / "other")
    config = composed("augmentation=sip", f"images.model={model}", f"paths.store={tmp_path}/store")
    load_splits(TrainJob(config), StageLog())
    assert "leaks        stack other learnt from 3 (" in capfd.readouterr().err


@pytest.mark.parametrize(
    "uses_it",
    ["augmentation=sip images.model={}/diffusion", "backbone=vit backbone.weights={}/vit"],
)
def test_images_of_val_and_test_that_a_stack_lists_are_counted(
    uses_it: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stack(folder := tmp_path / "other")
    config = composed(*uses_it.format(folder).split(), f"paths.store={tmp_path}/store")
    samples = TrainJob(config).dataset.samples
    learnt = [*samples("train"), *samples("val")[:3], *samples("test")[:1]]
    (folder / LEARNT).write_text("".join(f"{sample.sha256}\n" for sample in learnt))
    _, shared = load_splits(TrainJob(config), StageLog())
    assert (shared["val"]["exact_stack"], shared["test"]["exact_stack"]) == (3, 1)
    said = capfd.readouterr().err
    assert "val: 3 of " in said and "were learnt by the stack other: accuracy on them" in said
    assert "learnt from 3 (" not in said  # what is known exactly isn't guessed too


def test_a_stack_that_is_not_used_does_not_count(tmp_path: Path) -> None:
    stack(folder := tmp_path / "other")
    (folder / LEARNT).write_text("aa\n")
    config = composed("augmentation=none", f"images.model={folder}/diffusion")
    _, shared = load_splits(TrainJob(config), StageLog())
    assert "exact_stack" not in shared["val"]


def test_two_stacks_of_one_name_are_both_read(tmp_path: Path) -> None:
    models = [str(stack(tmp_path / place / "tiny")) for place in "ab"]
    for place, sha256 in zip("ab", ("aa", "bb"), strict=True):
        (tmp_path / place / "tiny" / LEARNT).write_text(f"{sha256}\n")
    assert list(learnt_by_stacks(models).values()) == [{"aa"}, {"bb"}]
