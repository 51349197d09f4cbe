"""Images that are missing are counted by reason."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sip.captions.openai import OpenAi
from sip.dataset.base import Sample
from sip.images.balance import Equal
from sip.jobs.generate import Generation
from sip.pipeline.failures import failures
from sip.pipeline.offline import Offline
from sip.prompts.base import Prompt
from sip.store.stage import Store


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


def test_a_declined_original_that_is_there_twice_has_no_caption_in_both_places() -> None:
    row = {"error": "declined", "requests": 1}
    stage = SimpleNamespace(failed=list, read=lambda keys: {key: row for key in keys})
    captioner = object.__new__(OpenAi)
    offline: Any = SimpleNamespace(captioner=captioner, stage=lambda name: stage)
    twice = [Sample(name, f"/{name}", 0, "cat", "train", 8, 8, "sha") for name in "ab"]
    assert Offline._uncaptioned(offline, twice) == {"a": "declined", "b": "declined"}
