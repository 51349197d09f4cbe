"""Batches of prompts: parts that fit, originals dropped in time; run by Trainer.predict."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sip.core.errors import UserError
from sip.device.predict import predict
from sip.device.settings import Devices, Runtime
from sip.images.base import ImageResult
from sip.images.batches import Batch, LastUse, group_rows, read_batch
from sip.images.module import ImageModule
from sip.prompts.base import Prompt, Span


class Passing(ImageModule):
    """Returns its sources as images; `fits` is the largest batch it can hold."""

    def __init__(self, fits: int = 1000) -> None:
        super().__init__(SimpleNamespace(size=8, reads_source=True), Runtime.cpu())
        self.fits = fits
        self.batches: list[Batch] = []

    def rows(self, batch: Batch) -> list[ImageResult]:
        if len(batch.prompts) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.batches.append(batch)
        return [
            ImageResult(row.image_id, None, 0, 0.0, "failed", "unreadable", "no")
            if row.source_sha256 in batch.unreadable
            else ImageResult(row.image_id, batch.sources[row.source_sha256], 1, 0.0)
            for row in batch.prompts
        ]


@pytest.fixture
def prompts(tmp_path) -> list[Prompt]:
    """Four variants of each of 5 originals, at two noise rates; the last original is broken."""
    rows = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((8, 8, 3), number * 40, dtype=np.uint8)).save(path)
        if number == 4:
            path.write_bytes(b"no image")
        for variant in range(4):
            rate = (0.3, 0.7)[variant % 2]
            spans = (Span("a photo", 1.0),)
            sample = (f"s{number}", str(path), f"sha{number}", number, "zero", variant)
            rows.append(Prompt(*sample, spans, "", 3.0, rate, 100 * number + variant, None, None))
    return rows


def rate_of(prompt: Prompt) -> float:
    return prompt.noise_rate


def generated_by(generator: Passing, prompts: list[Prompt], size: int) -> list[ImageResult]:
    rows: list[ImageResult] = []
    last_use = LastUse(prompts)
    batches = ((batch, last_use.sources(batch)) for batch in group_rows(prompts, size, rate_of))
    read = lambda pair: read_batch(pair[0], 8, pair[1])  # noqa: E731
    predict(generator, batches, read, rows.extend, Runtime.cpu(), Devices())
    return rows


def test_all_batches_are_full_but_the_last_of_each_group(prompts) -> None:
    batches = list(group_rows(prompts, 3, rate_of))
    assert sorted(map(len, batches)) == [1, 1, 3, 3, 3, 3, 3, 3]
    assert all(len({rate_of(row) for row in batch}) == 1 for batch in batches)
    # The variants of an original are generated soon after each other, not rate by rate.
    assert [rate_of(batch[0]) for batch in batches[:4]] == [0.3, 0.7, 0.3, 0.7]


def test_every_row_comes_once_with_its_own_source(prompts) -> None:
    rows = generated_by(Passing(), prompts, 4)
    assert sorted(row.image_id for row in rows) == sorted(p.image_id for p in prompts)
    by_id = {row.image_id: row for row in rows}
    for prompt in prompts[:16]:
        level = round(float(by_id[prompt.image_id].pixels.mean()) * 255)
        assert level == prompt.label * 40
    assert [by_id[p.image_id].status for p in prompts[16:]] == ["failed"] * 4


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_batch_that_does_not_fit_is_halved(prompts, fits, capsys) -> None:
    generator = Passing(fits)
    rows = generated_by(generator, prompts, 8)
    assert sorted(row.image_id for row in rows) == sorted(p.image_id for p in prompts)
    assert max(len(batch.prompts) for batch in generator.batches) <= fits
    assert "8 rows at once do not fit into memory, going on with 4" in capsys.readouterr().err


def test_an_image_that_does_not_fit_alone_is_one_line(prompts) -> None:
    with pytest.raises(UserError, match="a single image does not fit .*use a smaller images"):
        generated_by(Passing(fits=0), prompts, 4)


def test_other_errors_are_not_taken_for_a_lack_of_memory(prompts) -> None:
    generator = Passing()
    generator.rows = lambda batch: (_ for _ in ()).throw(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        generated_by(generator, prompts, 4)


@pytest.mark.parametrize("fits", [2, 1000])
def test_an_original_is_dropped_with_its_last_row_and_not_before(prompts, fits) -> None:
    generator = Passing(fits)
    generated_by(generator, prompts, 3)
    needed = [row.source_sha256 for batch in generator.batches for row in batch.prompts]
    dropped: list[str] = []
    for batch in generator.batches:
        needed = needed[len(batch.prompts) :]
        assert not set(batch.last_sources) & set(needed)
        dropped += batch.last_sources
    assert sorted(dropped) == [f"sha{number}" for number in range(5)]


def test_a_row_that_is_read_without_source_needs_no_file(prompts) -> None:
    batch = read_batch([replace(prompts[0], source="/nowhere")], None)
    assert batch.sources == {} and batch.unreadable == {}
