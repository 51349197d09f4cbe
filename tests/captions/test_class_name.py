"""The captioner without a model."""

import pytest

from sip.captions.class_name import ClassName
from sip.common.errors import UserError
from tests.captions.pictures import captions_of, loaded, make_samples


def test_class_name(tmp_path):
    captioner = loaded(ClassName("a {label}"))
    samples = make_samples(tmp_path, 2)
    assert captioner.prepare([]).numel() == 0
    assert captions_of(captioner, samples) == [["a one"], ["a one"]]
    with pytest.raises(UserError, match="expected {label} in it, came 'a thing'"):
        ClassName("a thing")
