"""The captioner without a model."""

from dataclasses import replace

import pytest
import torch

from sip.captions.class_name import ClassName
from sip.core.errors import UserError
from tests.captions.images import SIZES, captions_of, loaded, make_samples


def test_class_name(tmp_path):
    captioner = loaded(ClassName("a {label}"))
    samples = make_samples(tmp_path, SIZES[:2])
    assert captions_of(captioner, samples) == [["a one"], ["a one"]]
    with pytest.raises(UserError, match="template: must be text with {label} in it, got 'a thing'"):
        ClassName("a thing")


def test_products_are_full_float32_after_a_generator_allowed_less(tmp_path, monkeypatch):
    captioner, seen = loaded(ClassName("a {label}")), []
    allowed = torch.get_float32_matmul_precision

    def caption(samples, pixels):
        seen.append((allowed(), torch.backends.cudnn.allow_tf32))
        return [["a one"]]

    monkeypatch.setattr(captioner, "caption", caption)
    torch.set_float32_matmul_precision("high")
    try:
        captions_of(captioner, make_samples(tmp_path, SIZES[:1]))
        assert allowed() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [("highest", False)]


def test_an_image_in_two_classes_has_two_rows(tmp_path):
    captioner, (sample, *_) = ClassName("a {label}"), make_samples(tmp_path, SIZES[:2])
    other = replace(sample, sample_id="cat/1.png", class_name="cat")
    assert captioner.key(sample) != captioner.key(other)
    assert captioner.key(sample) == captioner.key(replace(sample, sample_id="another"))
