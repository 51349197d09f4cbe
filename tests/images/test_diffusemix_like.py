"""DiffuseMix's mixing: against the formula in numpy, by halves, row by row, and its recipe."""

import numpy as np
import pytest
import torch

from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.core.image_io import read_rgb
from sip.core.shapes import Size
from sip.device.settings import Runtime
from sip.images.diffusemix_like import HALVES, DiffuseMixLike, half, half_of
from sip.images.fractals import fractal
from tests.images.conftest import settings
from tests.images.models import SIZE

ONE_LEVEL = 1 / 255
OWN = {"num_steps": 4, "fractal_weight": 0.2, "num_fractals": 5}


@pytest.fixture
def make_mixing(model_folder):
    return lambda **changes: DiffuseMixLike(**(settings(model_folder) | OWN | changes))


@pytest.fixture
def rows(make_prompt):
    return [make_prompt(index, spans=(), noise_rate=(0.5, 0.8)[index % 2]) for index in range(4)]


def test_it_equals_the_formula(make_mixing, make_img2img, rows, generate):
    mixed, plain = generate(make_mixing(), rows, 4), generate(make_img2img(num_steps=4), rows, 4)
    for row in rows:
        generated = plain[row.image_id].pixels.numpy()
        original = np.asarray(read_rgb(row.source, SIZE)).transpose(2, 0, 1) / 255
        name = half_of(row.seed)
        seam = 20 * SIZE / 512
        line = np.clip((np.arange(SIZE) + 0.5 - SIZE / 2) / seam + 0.5, 0, 1)
        line = line if name in ("right", "lower") else 1 - line
        mask = line[None, None, :] if name in ("left", "right") else line[None, :, None]
        fractals = fractal(seed_of(row.seed, "fractal") % 5, Size(SIZE, SIZE)) / 255
        expected = 0.8 * (mask * generated + (1 - mask) * original) + 0.2 * fractals
        got = mixed[row.image_id].pixels.numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert mixed[row.image_id].unet_evaluations == plain[row.image_id].unet_evaluations


def test_half_of_the_original_stays(make_mixing, rows, generate):
    mixed = generate(make_mixing(fractal_weight=0), rows)
    far = SIZE // 4  # from the seam
    for row in rows:
        got = mixed[row.image_id].pixels
        original = torch.tensor(np.asarray(read_rgb(row.source, SIZE))).permute(2, 0, 1) / 255
        kept = {
            "left": (slice(None), slice(-far, None)),
            "right": (slice(None), slice(far)),
            "upper": (slice(-far, None), slice(None)),
            "lower": (slice(far), slice(None)),
        }[half_of(row.seed)]
        torch.testing.assert_close(got[:, *kept], original[:, *kept])
        assert (got - original).abs().max() > 0.05


def test_each_half_is_generated_as_often():
    counts = {name: 0 for name in HALVES}
    for seed in range(4000):
        counts[half_of(seed)] += 1
    assert all(900 < count < 1100 for count in counts.values())


@pytest.mark.parametrize("size", [Size(8, 8), Size(32, 32), Size(512, 512), Size(640, 384)])
def test_halves_add_up_and_meet_in_the_middle(size):
    width, height = size
    for one, other in (("left", "right"), ("upper", "lower")):
        whole = half(one, size) + half(other, size)
        torch.testing.assert_close(whole, torch.ones(1, height, width))
    left = half("left", size)
    assert (left[0, :, 0] == 1).all() and (left[0, :, -1] == 0).all()
    torch.testing.assert_close(half("upper", Size(height, width))[0], left[0].T)
    soft = ((left[0, 0] > 0) & (left[0, 0] < 1)).sum()
    assert abs(int(soft) - 20 * width / 512) <= 2


def test_an_image_does_not_depend_on_its_batch(make_mixing, rows, generate):
    together, alone = generate(make_mixing(), rows, 4), generate(make_mixing(), rows[::-1], 1)
    for row in rows:
        difference = together[row.image_id].pixels - alone[row.image_id].pixels
        assert difference.abs().max() <= ONE_LEVEL


def test_a_failed_image_is_not_mixed_into_a_good_one(make_mixing, rows, generate):
    engine = make_mixing().load(Runtime.cpu())
    decode = engine.models.decode
    engine.models.decode = lambda latents: decode(latents) * 0
    generated = generate(engine, rows[:2])
    assert {row.reason for row in generated.values()} == {"black"}
    assert all(row.pixels is None for row in generated.values())


def test_the_recipe_holds_what_changes_files(make_mixing, make_img2img):
    recipes = [
        make_img2img(num_steps=4),
        make_mixing(),
        make_mixing(fractal_weight=0.3),
        make_mixing(num_fractals=6),
        make_mixing(num_steps=5),
    ]
    assert len({str(generator.recipe()) for generator in recipes}) == len(recipes)
    assert make_mixing(per_sample=3).recipe() == make_mixing().recipe()


def test_wrong_values_are_refused(make_mixing):
    with pytest.raises(UserError, match=r"fractal_weight: must be in \[0, 1\], got 2"):
        make_mixing(fractal_weight=2)
    with pytest.raises(UserError, match="num_fractals: must be a whole number >= 1, got 0"):
        make_mixing(num_fractals=0)
