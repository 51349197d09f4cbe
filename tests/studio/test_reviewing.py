"""Decisions on images: in an order, one by one or by a threshold, saved at once, undone."""

import shlex
from pathlib import Path

import pytest
from PIL import Image

from sip.api.run import RunImage
from sip.config.command import Command
from sip.core.errors import UserError
from sip.core.stages import StageLog
from sip.filter.review import Review, read_review
from sip.jobs.train_job import TrainJob
from sip.studio import reviewing
from sip.studio.review_tab import shown
from sip.studio.reviewing import AGREEMENT, DISTANCE, LABEL, ReviewedRun, ReviewState
from tests.composing import composed


@pytest.fixture
def run(folders: list[Path]) -> ReviewedRun:
    return ReviewedRun(folders[0])


def test_orders_are_those_that_the_run_knows(run: ReviewedRun) -> None:
    assert run.orders[0] == LABEL and {AGREEMENT, DISTANCE} <= set(run.orders)
    quality = run.run.record.image_quality()
    for order, column in ((LABEL, "label_similarity"), (DISTANCE, "original_distance")):
        for falling in (False, True):
            values = [quality[item.image.id][column] for item in run.ordered(order, falling)]
            assert values == sorted(values, reverse=falling) and len(set(values)) > 3
    agree = {i.image.id: quality[i.image.id]["zero_shot"] == i.image.class_name for i in run.items}
    assert [agree[item.image.id] for item in run.ordered(AGREEMENT, True)] == sorted(
        agree.values(), reverse=True
    )
    assert run.ordered("", False) == run.items
    with pytest.raises(UserError, match="^order: must be one of"):
        run.ordered("beauty", False)
    (run.run.folder / "quality.parquet").unlink()
    assert ReviewedRun(run.run.folder).orders == [reviewing.SIMILARITY]


def test_each_decision_is_saved_at_once_and_can_be_undone(run: ReviewedRun) -> None:
    state = ReviewState(run, LABEL)
    first, second, third = (item.image.id for item in state.items[:3])
    state.decide("accept")
    assert read_review(run.file) == {first: "accept"}
    state.decide("reject")
    assert read_review(run.file) == {first: "accept", second: "reject"}
    assert state.current.image.id == third
    assert run.counts() == {"accept": 1, "reject": 1, "undecided": 10}
    assert state.take_back() == 1
    assert read_review(run.file) == {first: "accept"} and state.current.image.id == second
    state.move(-5)
    state.decide("reject")  # another decision on the same image
    assert read_review(run.file) == {first: "reject"}
    assert [state.take_back(), state.take_back(), state.take_back()] == [1, 1, 0]
    assert not run.file.exists() and run.decisions == {}
    state.move(100)
    assert state.position == 11
    state.decide("accept")
    assert state.position == 11


def test_a_threshold_rejects_the_undecided_ones_below_it(run: ReviewedRun) -> None:
    state = ReviewState(run, LABEL)
    items = state.items
    state.decide("accept")  # the lowest
    values = [item.values[LABEL] for item in items]
    assert state.reject_below(values[4]) == 3
    assert set(run.decisions) == {item.image.id for item in items[:4]}
    assert run.decisions[items[0].image.id] == "accept"
    assert state.take_back() == 3 and len(run.decisions) == 1
    farthest = run.ordered(DISTANCE, True)
    limit = farthest[2].values[DISTANCE]
    names = [one.image.id for one in farthest[:2] if one.image.id not in run.decisions]
    assert sorted(run.below(DISTANCE, limit)) == sorted(names)
    for bad in (float("nan"), float("inf"), None):
        with pytest.raises(UserError, match="^threshold: must be a number"):
            run.below(LABEL, bad)


def test_the_commands_use_the_review(run: ReviewedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    export, train = run.commands().splitlines()
    monkeypatch.chdir(run.run.folder.parent)
    run.decide({item.image.id: "reject" for item in run.items[:5]})
    *_, module, folder, review, output = shlex.split(export)
    assert (module, folder) == ("sip.export", f"run={run.run.folder}")
    assert (review, output) == ("review=keep", "output=reviewed")
    module, *words = shlex.split(train)[2:]
    assert module == "sip.train"
    job = TrainJob(composed(*map(Command.for_hydra, words), "logger=csv"))
    assert job.offline is not None and isinstance(job.offline.filter, Review)
    samples = job.dataset.samples("train")
    prompts, _ = job.offline.prompts(samples, StageLog())
    ids = {item.image.id for item in run.items}
    assert {prompt.image_id for prompt in prompts} <= ids and prompts


def test_the_commands_find_what_the_command_of_the_run_found(
    run: ReviewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = "SIP_TRUSTED=mine python -m sip.generate --config-dir my_conf dataset=mine filter=none"
    monkeypatch.setattr(type(run.run), "command", typed)
    train = run.commands().splitlines()[1]
    assert train.startswith(
        "SIP_TRUSTED=mine python -m sip.train --config-dir my_conf dataset=mine augmentation=sip "
        "filter=review filter.file="
    )


def test_windows_do_not_overwrite_each_other(run: ReviewedRun) -> None:
    other = ReviewedRun(run.run.folder)
    first, second = (item.image.id for item in run.items[:2])
    run.decide({first: "reject"})
    other.decide({second: "accept"})
    assert run.decisions == other.decisions == {first: "reject", second: "accept"}
    assert Review(str(run.run.folder), "keep").recipe()["content"]  # what filter=review reads


def test_a_failed_write_leaves_the_review_as_it_was(
    run: ReviewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (item.image.id for item in run.items[:2])
    run.decide({first: "reject"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="review"):
        run.decide({second: "reject"})
    monkeypatch.undo()
    assert run.decisions == {first: "reject"}
    assert sorted(file.name for file in run.run.folder.glob("*review*")) == ["review.csv"]


def test_a_damaged_review_is_named_and_never_overwritten(run: ReviewedRun) -> None:
    text = "image_id,decision\na,perhaps\n"
    run.file.write_text(text)
    for act in (lambda: ReviewedRun(run.run.folder), lambda: run.decide({"b": "reject"})):
        with pytest.raises(UserError, match="^review: .*: row 2, column decision: must be accept"):
            act()
    assert run.file.read_text() == text
    with pytest.raises(UserError, match="^decision: must be one of accept, reject, got 'maybe'"):
        run.decide({"b": "maybe"})


def test_an_image_that_is_gone_is_named_in_its_place(
    run: ReviewedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ReviewState(run)
    gone, there = run.items[1].image, run.items[0].image

    def read(one: RunImage) -> Image.Image:
        if one is gone:
            raise UserError("the image is gone")
        return one._listed.rgb()

    monkeypatch.setattr(RunImage, "image", property(read))
    pair, strip, _ = shown(state)
    assert pair.count("<img") == 2 and strip.count("<img") == 11 and "damaged" in strip
    state.decide("accept")
    pair, strip, _ = shown(state)
    assert pair.count("<img") == 1 and "the image is gone" in pair and gone.prompt in pair
    assert run.decisions == {there.id: "accept"}
