"""The total of several plans against what their jobs then do."""

from dataclasses import replace
from pathlib import Path

import pytest

from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.pipeline.planned import PlannedRows as Rows
from sip.pipeline.planned import total_lines
from sip.pipeline.rows import coming_images
from tests.kills import Generation, configuration


def total(tmp_path: Path, *jobs: Generation) -> dict[str, str]:
    lines = total_lines([job.plan().work for job in jobs], tmp_path)
    assert lines["total"].startswith(f"{len(jobs)} jobs planned")
    return lines


def test_images_that_jobs_share_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Generation(configuration(tmp_path))  # 2 images of each of 20 originals
    fewer = Generation(configuration(tmp_path, "images.per_sample=1"))
    other = Generation(configuration(tmp_path, "prompts.noise_rate=0.75"))
    for job in (first, fewer, other):
        monkeypatch.setattr(job, "no_device", "a test")  # nothing is measured
    before = total(tmp_path, first, first, other)
    assert before["to caption, to score"] == "20, 20 images"
    assert before["to generate"] == "at most 80 images"
    assert before["U-Net evaluations"] == f"at most {40 * 4 + 40 * 6}"
    assert total(tmp_path, first, fewer)["to generate"] == "at most 60 images"  # a true bound

    samples = first.samples()
    prompts = {job: job.offline.prompts(samples, StageLog())[0] for job in (first, fewer, other)}
    announced = total(tmp_path, *prompts)
    assert announced["to generate"] == "80 images" and announced["cached"] == "0 images"
    for job, written in prompts.items():
        job.offline.generate(written, StageLog())
    rows = {prompt.image_id for written in prompts.values() for prompt in written}
    passes = first.offline.column("images", sorted(rows), "unet_evaluations")
    assert len(passes) == 80 and announced["U-Net evaluations"] == f"{sum(passes):,}"
    after = total(tmp_path, *prompts)
    assert (after["to generate"], after["cached"]) == ("0 images", "80 images")
    assert after["time"] == "none, everything is cached"


def test_keys_of_images_to_come_depend_on_the_set_but_not_on_its_order(tmp_path: Path) -> None:
    job = Generation(configuration(tmp_path))
    samples = list(job.samples())

    def keys(those: list[Sample], coming: list[Sample]) -> set[str]:
        found = coming_images(job.offline, those, coming)
        return {key for rows in found for key in rows.keys}

    whole = keys(samples, samples)
    assert len(whole) == 40
    assert keys(samples[::-1], samples[:8]) == keys(samples, samples[:8]) < whole
    assert not keys(samples[1:], samples[1:]) & whole
    again = [*samples, samples[0]]  # the same image twice is another set
    assert not keys(again, samples) & whole
    assert coming_images(job.offline, samples, []) == []


def test_time_space_and_trainings_are_added_up(tmp_path: Path) -> None:
    control = Rows("train", "", ("control-c",), steps=5, seconds=1.0, exact=False)
    images = Rows("generate", "/a", ("x", "y"), evaluations=4, least=0, bytes=1e6, seconds=2.0)
    needed = Rows("generate", "/a", ("y",), evaluations=4, least=4, bytes=1e6, seconds=2.0)
    runs = [Rows("train", "", (key,), steps=10, seconds=8.0) for key in ("r", "s", "r")]
    jobs = [[images, control, runs[0]], [needed, control, runs[1]], [runs[2]]]
    lines = total_lines(jobs, tmp_path / "not" / "there")
    assert lines["to generate"] == "at most 2 images"
    assert lines["U-Net evaluations"] == "at most 8 (at least 4)"
    assert lines["disk"].startswith("about 2 MB needed, ")
    assert lines["to train"] == "at most 3 classifiers"
    assert lines["optimiser steps"] == "at most 25"
    assert lines["time"] == "about 21 s, one job after the other"
    real = total_lines([[runs[0]]], tmp_path)
    assert list(real) == ["total", "to train", "optimiser steps", "time"]
    controlled = [[replace(images, control=3)], [replace(needed, control=3)]]
    assert total_lines(controlled, tmp_path)["ControlNet evaluations"] == "at most 6"
    unknown = [[Rows("train", "", ("z",), steps=10, seconds=None), images]]
    assert total_lines(unknown, tmp_path)["time"].startswith("not measured")
