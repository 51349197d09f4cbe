"""`images.aspect=keep` from files to the store: plan, batches of one shape, resuming, the sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sip.core.shapes import Size
from sip.core.stages import StageLog
from sip.jobs.generate import Generation
from sip.pipeline import trial
from sip.pipeline.plan import make_plan
from sip.pipeline.trial import Trials
from tests.kills import configuration, contents

SIZES = [Size(44, 33), Size(30, 46), Size(120, 40), Size(20, 20), Size(48, 36), Size(24, 36)]


@pytest.fixture
def configured(tmp_path: Path):
    """Return a job on six images of unlike shape, whose store has a name."""
    rng = np.random.default_rng(2)
    for number, size in enumerate(SIZES):
        folder = tmp_path / "images" / ("one", "two")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.png")
    data = ["dataset=image_folder", f"dataset.root={tmp_path}/images", "dataset.shots=null"]
    parts = ["dataset.val_fraction=0", "dataset.test_fraction=0"]
    quick = ["prompts=label", "images.aspect=keep"]
    return lambda name: configuration(tmp_path / name, *data, *parts, *quick)


def test_a_run_that_was_cut_gives_the_bytes_of_an_unbroken_one(
    configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Generation(configured("whole"))
    samples = whole.samples()
    plan = make_plan(whole.offline, samples, unmeasured="a test")
    sizes = plan.lines()["sizes"].split("; ")
    assert sizes[0] == "36 x 28 px: 4 images, 16 evaluations"
    assert sorted(sizes[1:]) == [
        "24 x 40 px: 4 images, 16 evaluations",
        "32 x 32 px: 2 images, 8 evaluations",
        "44 x 20 px: 2 images, 8 evaluations",
    ]
    with monkeypatch.context() as patched:  # a second for each pixel of an evaluation
        cost = lambda self, sample: (float(self._pixels(sample)), 0.0)  # noqa: E731
        patched.setattr(Trials, "_per_evaluation", cost)
        patched.setattr(Trials, "_per_row", lambda self, name, sample: 0.0)
        pixels = 36 * 28 * 16 + 24 * 40 * 16 + 32 * 32 * 8 + 44 * 20 * 8
        assert make_plan(whole.offline, samples).seconds == pixels
        patched.setattr(trial, "NUM_SIZES", 2)  # 32 x 32 px as 36 x 28, 44 x 20 as 24 x 40
        pixels = 36 * 28 * 24 + 24 * 40 * 24
        assert make_plan(whole.offline, samples).seconds == pixels
    Generation(configured("whole")).run()
    rows = contents(tmp_path / "whole" / "store")
    images = [row for name, row in rows.items() if name.startswith("images/")]
    stored = {(row["sample_id"], row["width"], row["height"]) for row in images}
    wanted = {f"{n}.png": size for n, size in enumerate(SIZES)}
    wanted["2.png"] = Size(45, 23)  # of the central 80 x 40 px, no more than 32 x 32 = 1,024 px
    wanted |= {"0.png": Size(37, 28), "1.png": Size(26, 40), "4.png": Size(37, 28)}
    assert {(Path(name).name, *size) for name, *size in stored} == {
        (name, *size) for name, size in wanted.items()
    }
    job = Generation(configured("cut"))
    prompts, _ = job.offline.prompts(samples, StageLog())
    job.offline.generate(prompts[3:8], StageLog())
    half = make_plan(job.offline, samples, unmeasured="a test")
    assert (half.to_generate, half.cached) == (7, 5)
    Generation(configured("cut")).run()
    assert contents(tmp_path / "cut" / "store") == rows
