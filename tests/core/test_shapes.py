"""Buckets of aspect ratios: what an original is scaled to, and what is stored."""

import numpy as np
import pytest
from PIL import Image

from sip.core.shapes import Size, buckets, default_step, nearest, own_size, scaled

METHOD = Image.Resampling.BICUBIC


@pytest.mark.parametrize(
    ("original", "bucket"),
    [  # the sizes of SDXL's table (Podell et al., 2023, appendix I)
        ((1000, 1000), (1024, 1024)),
        ((640, 480), (1152, 896)),
        ((3000, 2000), (1216, 832)),
        ((1920, 1080), (1344, 768)),
        ((2000, 1000), (1408, 704)),
        ((9000, 1000), (1408, 704)),
        ((480, 640), (896, 1152)),
    ],
)
def test_the_bucket_is_the_nearest_of_sdxls_shapes(original, bucket):
    assert nearest(Size(*original), buckets(1024, 64)) == bucket


@pytest.mark.parametrize(("side", "step"), [(1024, 64), (512, 64), (512, 8), (32, 4), (500, 24)])
def test_no_bucket_has_more_pixels_than_the_square(side, step):
    sizes = buckets(side, step)
    assert all(size.width % step == size.height % step == 0 for size in sizes)
    assert max(size.area for size in sizes) <= side**2
    assert {Size(size.height, size.width) for size in sizes} == set(sizes)
    chosen = {nearest(Size(w, h), sizes) for w in range(10, 40) for h in range(10, 40)}
    assert min(size.area for size in chosen) > 0.8 * side**2


def test_steps_are_a_sixteenth_where_the_model_allows():
    assert default_step(1024, 64, 8) == default_step(1024, 16, 16) == 64
    assert default_step(512, 64, 8) == 64  # all levels of the U-Net of Stable Diffusion 1.5 halve
    assert default_step(512, 16, 16) == 32
    assert default_step(256, 64, 8) == 16  # else three shapes would be left


def test_what_is_stored_has_the_originals_size_unless_it_is_larger():
    assert own_size(Size(500, 333), 512**2) == (500, 333)
    assert own_size(Size(640, 480), 512**2) == (591, 443)
    assert own_size(Size(300, 100), 512**2) == (200, 100)
    assert own_size(Size(6000, 4000), 1024**2) == (1254, 836)


def test_all_of_an_original_is_scaled_and_of_a_long_one_the_centre():
    pixels = np.zeros((10, 40, 3), np.uint8)
    pixels[:, :10], pixels[:, 10:20], pixels[:, 20:30] = 50, 100, 200
    whole = np.asarray(scaled(Image.fromarray(pixels[:, 10:30]), Size(24, 16), METHOD))[8, :, 0]
    assert whole[0] == 100 and whole[-1] == 200 and (whole[:9] == 100).all()
    long = np.asarray(scaled(Image.fromarray(pixels), Size(24, 16), METHOD))[8, :, 0]
    np.testing.assert_allclose(long.astype(int), whole, atol=10)  # the filter looks past the cut
    square = np.asarray(scaled(Image.fromarray(pixels), 10, METHOD))[:, :, 0]
    assert square.shape == (10, 10) and square[0, 0] == 100 and square[0, -1] == 200
