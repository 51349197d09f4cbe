"""Fractals: each its own, the same every time, in every size, and with something to see."""

import numpy as np
import pytest

from sip.core.shapes import Size
from sip.images.fractals import FINEST, fractal

SMALL = Size(32, 32)


@pytest.mark.parametrize("size", [8, 32, FINEST + 8])
def test_shape_and_type(size):
    image = fractal(0, Size(size, size + 4))
    assert image.shape == (3, size + 4, size)
    assert image.dtype == np.uint8


def test_a_fractal_is_a_function_of_its_number():
    first = fractal(3, SMALL).copy()
    fractal.cache_clear()
    np.random.seed(1)  # noqa: NPY002  the global generator has no part in it
    np.testing.assert_array_equal(fractal(3, SMALL), first)
    assert len({fractal(number, SMALL).tobytes() for number in range(10)}) == 10


def test_they_are_more_than_a_plain_colour():
    for number in range(10):
        image = fractal(number, SMALL).reshape(3, -1)
        assert len(np.unique(image, axis=1).T) > 50
        assert image.std(axis=1).max() > 8


def test_a_larger_one_shows_the_same():
    small, large = fractal(3, SMALL).astype(float), fractal(3, Size(64, 64)).astype(float)
    shrunk = large.reshape(3, 32, 2, 32, 2).mean((2, 4))
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.9
