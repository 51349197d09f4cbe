"""Images of two classes in the main job, end to end: what is generated, judged and trained to."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch

from sip.classifier.module import Classifier
from sip.filter.base import Candidate
from sip.jobs.train import train
from sip.jobs.train_job import TrainJob
from sip.pipeline.filtering import candidate
from sip.prompts.base import Prompt, SourceClass
from tests.composing import composed
from tests.pipeline.made_up import TRAINING, stored


def test_both_classes_are_listed_judged_and_trained_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[torch.Tensor, ...]] = []
    step = Classifier.training_step
    monkeypatch.setattr(
        Classifier, "training_step", lambda self, *a: batches.append(a[0]) or step(self, *a)
    )
    overrides = ("augmentation=diff_mix_like", "prompts.targets=balanced", "filter=zero_shot")
    job = composed(
        *TRAINING, *overrides, "mixing.mode=verdict", "images.per_sample=1", folder=tmp_path
    )
    train(job)

    folder = TrainJob(job).folder
    rows = pd.read_parquet(folder / "images.parquet").query("kind == 'generated'")
    assert Counter(rows.label) == dict.fromkeys(range(10), 1)
    assert (rows.label != rows.source_label).all()
    assert (rows.label_share - rows.noise_rate**0.5).abs().max() < 1e-12
    kept = rows[rows.status == "ok"].merge(pd.read_parquet(folder / "quality.parquet"), on="id")
    assert (kept.zero_shot == kept.class_name).all()  # the target, not the original's class
    assert 0 < len(kept) <= 10

    expected = {(n,): 1.0 for n in range(10)}  # classes of an image -> share of the first one
    expected |= {
        (row.label, int(row.source_label), round(row.label_share, 4)): row.label_share
        for row in kept.itertuples()
    }
    seen = set()
    for _, targets, weights in batches:
        torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))
        for target, weight in zip(targets, weights, strict=True):
            classes = target.argsort(descending=True)[: int((target > 0).sum())].tolist()
            share = float(target[classes[0]])
            key = (*classes, *([round(share, 4)] if len(classes) == 2 else []))
            assert share == pytest.approx(expected[key], abs=1e-6)
            assert weight == 1 or len(classes) == 2  # verdicts weigh generated images
            seen.add(len(classes))
    assert seen == {1, 2}


def test_filters_are_told_the_class_of_the_original_too() -> None:
    def judged(source: SourceClass | None) -> Candidate:
        values = (0, (), "", 7.5, 0.7, 1, None, None, None, source)
        prompt = Prompt("p", "p.png", "hash", 8, "eight", *values)
        return candidate(stored(prompt, "x.png", file_sha256="sha"))

    mixed, plain = judged(SourceClass(3, "three", 0.8)), judged(None)
    assert (mixed.label, mixed.class_name, mixed.source_label) == (8, "eight", 3)
    assert (plain.label, plain.source_label) == (8, None)
