"""Images that are missing are counted by reason."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sip.captions.openai import OpenAi
from sip.core.stages import StageLog
from sip.dataset.base import Sample
from sip.images.balance import Equal
from sip.jobs.generate import Generation
from sip.pipeline.backoff import Settled
from sip.pipeline.components import trial_prompt
from sip.pipeline.failures import failures
from sip.pipeline.offline import Offline
from sip.pipeline.quality import NOTHING
from sip.pipeline.stored import spent
from sip.prompts.base import Prompt
from sip.store.stage import Store
from tests.pipeline.made_up import stored


def test_images_that_failed_are_not_kept() -> None:
    prompts = [SimpleNamespace(image_id=key) for key in "abc"]
    stage = SimpleNamespace(num_failed=1, has_failed=lambda key: key == "b")
    work: Any = SimpleNamespace(offline=SimpleNamespace(stage=lambda name: stage))
    kept, rejected = Generation._judged(work, prompts, None)  # type: ignore[arg-type]
    assert [*kept] == [prompts[0], prompts[2]] and not rejected


def test_originals_without_a_prompt_are_counted(tmp_path: Path) -> None:
    stage = Store(tmp_path).stage("images", "none", {"version": 1})
    samples = [Sample(name, f"/{name}", 0, "cat", "train", 8, 8, name) for name in "abc"]
    values = {"spans": (), "negative_prompt": "", "guidance_scale": 1.0, "noise_rate": 0.5}
    values |= {"caption": None, "similarity": None}
    prompts = [
        Prompt.of(sample, variant, seed=variant, **values)
        for sample in samples
        for variant in (0, 1)
    ]
    without_b = [prompt for prompt in prompts if prompt.sample_id != "b"]
    counts = Equal(samples, 2)
    assert failures(stage, counts, prompts, samples, {}) == Counter()
    assert failures(stage, counts, without_b, samples, {}) == {"unreadable": 2}
    assert failures(stage, counts, without_b, samples, {"b": "refused"}) == {"no caption": 2}


def test_images_of_an_original_that_is_there_twice_are_counted_twice_and_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unknown = dict.fromkeys(("command", "versions", "platform", "commit"))
    monkeypatch.setattr("sip.jobs.generate.environment", lambda: unknown)
    row = {"reason": "black", "unet_evaluations": 4}
    keys: list[str] = []
    stage: Any = SimpleNamespace(path="x", failed=list)
    stage.each = lambda asked, *_: [keys.append(key) or row for key in asked]
    twice = [Sample(name, f"/{name}", 0, "cat", "train", 8, 8, "sha") for name in "ab"]
    prompts = [replace(trial_prompt(0.5), sample_id=one.sample_id) for one in twice]
    counts = Equal(twice, 1)
    assert failures(stage, counts, prompts, twice, {}) == {"black": 2}
    offline = SimpleNamespace(stage=lambda name: stage, failures=lambda *_: {})
    offline.num_images, offline.with_weights = (lambda samples: counts), dict
    values = {"offline": offline, "name": "x", "fingerprint": "x", "recipe": {}}
    work: Any = SimpleNamespace(**values, stages=StageLog())
    keys.clear()
    summary = Generation._summary(work, twice, Settled(prompts, prompts), None, prompts, NOTHING)
    assert (summary.num_real, summary.num_generated) == (2, 2)
    assert (summary.unet_evaluations, len(keys)) == (4, 1)


def test_its_cost_is_that_of_the_images_made() -> None:
    first, other = trial_prompt(0.5), trial_prompt(0.7)
    images = [stored(prompt, "/x.png") for prompt in (first, other, replace(first, sample_id="b"))]
    assert spent(images) == (2 * 50, 2 * 0.1)


def test_a_declined_original_that_is_there_twice_has_no_caption_in_both_places() -> None:
    row = {"error": "declined", "requests": 1}
    stage = SimpleNamespace(failed=list, read=lambda keys: {key: row for key in keys})
    captioner = object.__new__(OpenAi)
    offline: Any = SimpleNamespace(captioner=captioner, stage=lambda name: stage)
    twice = [Sample(name, f"/{name}", 0, "cat", "train", 8, 8, "sha") for name in "ab"]
    assert Offline._uncaptioned(offline, twice) == {"a": "declined", "b": "declined"}
