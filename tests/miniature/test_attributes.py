"""Measured attributes and the grammar that says them."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from sip.miniature.attributes import ATTRIBUTES, PHRASES, caption, claims, measure, thresholds
from sip.miniature.pool import held_out, pictures, pretrain_thresholds
from sip.miniature.tokenizers import CLIP_LENGTH, bert_tokenizer, clip_tokenizer


def stroke(start: tuple[int, int], end: tuple[int, int], width: int) -> torch.Tensor:
    picture = Image.new("L", (32, 32))
    ImageDraw.Draw(picture).line([start, end], fill=255, width=width)
    return torch.tensor(np.asarray(picture.filter(ImageFilter.BoxBlur(1)))).float() / 255


def values(*strokes: torch.Tensor) -> dict[str, list[float]]:
    measured = measure(torch.stack(strokes))
    return {name: measured[:, n].tolist() for n, name in enumerate(ATTRIBUTES)}


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
    measured = measure(pictures("pretrain")[0])
    levels = thresholds(measured).levels(measured)
    for column in levels.T:
        shares = torch.bincount(column, minlength=3) / len(column)
        torch.testing.assert_close(shares, torch.tensor([0.3, 0.4, 0.3]), atol=0.02, rtol=0)


def test_captions_say_what_was_measured() -> None:
    rng = random.Random(0)
    for levels in held_out().levels[:100]:
        said = claims(caption(levels, rng))
        assert len(said) == 3
        assert all(int(levels[ATTRIBUTES.index(name)]) == level for name, level in said.items())


def test_no_phrase_has_two_meanings() -> None:
    phrases = [p for by_level in PHRASES.values() for ps in by_level for p in ps]
    assert len(phrases) == len(set(phrases))


def test_captions_fit_the_text_encoders() -> None:
    rng = random.Random(0)
    clip, bert = clip_tokenizer(), bert_tokenizer()
    for levels in held_out().levels[:50]:
        text = caption(levels, rng)
        assert len(clip(f"a photo of a seven, {text}").input_ids) <= CLIP_LENGTH
        assert bert.unk_token_id not in bert(text).input_ids


def test_thresholds_come_from_pretrain_alone() -> None:
    expected = torch.quantile(measure(pictures("pretrain")[0]), torch.tensor([0.3, 0.7]), dim=0)
    assert pretrain_thresholds().low == pytest.approx(expected[0].tolist())
    assert pretrain_thresholds().high == pytest.approx(expected[1].tolist())
