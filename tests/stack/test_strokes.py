"""The digits' attributes and the grammar that says them."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from sip.dataset.digits import CLASS_NAMES
from sip.stack.pool import Pool
from sip.stack.scans import scan_images, scan_pool, strokes, warp
from sip.stack.strokes import Strokes
from sip.stack.texts import Measured
from sip.stack.tokenizers import CLIP_LENGTH, bert_tokenizer, clip_tokenizer, digit_words

NAMES = [attribute.name for attribute in Strokes.attributes]


@pytest.fixture(scope="module")
def held_out() -> Pool:
    return scan_pool(("train", "val"), 0, 0)


def levels_of(pool: Pool) -> torch.Tensor:
    assert isinstance(pool.texts, Measured)
    return pool.texts.levels


def stroke(start: tuple[int, int], end: tuple[int, int], width: int) -> torch.Tensor:
    image = Image.new("L", (32, 32))
    ImageDraw.Draw(image).line([start, end], fill=255, width=width)
    return torch.tensor(np.asarray(image.filter(ImageFilter.BoxBlur(1)))).float() / 255


def values(*images: torch.Tensor) -> dict[str, list[float]]:
    measured = Strokes.measure(torch.stack(images).unsqueeze(1).expand(-1, 3, -1, -1))
    return {name: measured[:, n].tolist() for n, name in enumerate(NAMES)}


def test_thicker_strokes_measure_thicker() -> None:
    thin, thick = values(stroke((16, 4), (16, 28), 3), stroke((16, 4), (16, 28), 8))["thickness"]
    assert thin < thick
    assert thin == pytest.approx(3, abs=1.5)


def test_slant_is_positive_to_the_right() -> None:
    right, upright, left = values(
        stroke((20, 4), (12, 28), 3), stroke((16, 4), (16, 28), 3), stroke((12, 4), (20, 28), 3)
    )["slant"]
    assert right == pytest.approx(8 / 24, abs=0.05)
    assert upright == pytest.approx(0, abs=0.01)
    assert left == pytest.approx(-8 / 24, abs=0.05)


def test_balance_is_where_the_ink_is() -> None:
    top, bottom = values(stroke((8, 6), (24, 6), 3), stroke((8, 26), (24, 26), 3))["balance"]
    assert top < 0.3 < 0.7 < bottom


def test_thresholds_part_pretrain_30_40_30() -> None:
    levels = strokes().describe(scan_images("pretrain")[0])
    for column in levels.T:
        shares = torch.bincount(column, minlength=3) / len(column)
        torch.testing.assert_close(shares, torch.tensor([0.3, 0.4, 0.3]), atol=0.02, rtol=0)


def test_captions_say_what_was_measured_and_never_the_digit(held_out: Pool) -> None:
    rng = random.Random(0)
    for row, levels in enumerate(levels_of(held_out)[:100]):
        text, meaning = held_out.texts.caption(row, rng)
        claims = Strokes((), ()).claims(text)
        assert len(claims) == 3
        assert all(int(levels[NAMES.index(name)]) == level for name, level in claims.items())
        assert meaning[0] == -1 and sorted(m for m in meaning if m != -1) == sorted(claims.values())
        assert not set(CLASS_NAMES) & set(text.replace(",", "").split())


def test_captions_fit_the_text_encoders(held_out: Pool) -> None:
    rng = random.Random(0)
    clip, bert = clip_tokenizer(), bert_tokenizer()
    for row in range(50):
        text, _ = held_out.texts.caption(row, rng)
        assert len(clip(f"a photo of a seven, {text}").input_ids) <= CLIP_LENGTH
        assert bert.unk_token_id not in bert(text).input_ids


def test_the_words_of_a_pool_of_digits_are_those_of_the_default_tokenizers(held_out: Pool) -> None:
    assert set(held_out.texts.vocabulary()) == set(digit_words())


def test_thresholds_come_from_pretrain_alone() -> None:
    scans = scan_images("pretrain")[0].expand(-1, 3, -1, -1).float() / 255
    expected = torch.quantile(Strokes.measure(scans), torch.tensor([0.3, 0.7]), dim=0)
    assert strokes().low == pytest.approx(expected[0].tolist())
    assert strokes().high == pytest.approx(expected[1].tolist())


def test_warped_copies_stay_mild() -> None:
    scans = scan_images("val")[0]
    moved = warp(scans, torch.Generator().manual_seed(0))
    assert (moved.dtype, moved.shape) == (torch.uint8, scans.shape)
    difference = (moved.float() - scans.float()).abs().mean() / 255
    assert 0.02 < difference < 0.15
