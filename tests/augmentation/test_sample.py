"""Changes to single images are those of torchvision, or of the papers' formulas in numpy."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from sip.augmentation.sample.albumentations import AlbumentationsTransform
from sip.augmentation.sample.base import SampleTransform
from sip.augmentation.sample.cutout import Cutout
from sip.augmentation.sample.flip_crop import FlipCrop
from sip.augmentation.sample.gridmask import GridMask
from sip.augmentation.sample.pad_crop import PadCrop
from sip.augmentation.sample.torchvision import TorchvisionTransform
from sip.core.errors import UserError

IMAGE = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(0))
WHITE = torch.full((3, 32, 32), 255, dtype=torch.uint8)

ERASING = {"scale": [0.02, 0.33], "ratio": [0.3, 3.3]}
POLICIES = {
    "randaugment": TorchvisionTransform("RandAugment", {"num_ops": 2, "magnitude": 9, "fill": 0}),
    "trivialaugment": TorchvisionTransform(
        "TrivialAugmentWide", {"num_magnitude_bins": 31, "fill": 0}
    ),
}
PAIRS = {
    "randaugment": (POLICIES["randaugment"], v2.RandAugment(2, 9, fill=0)),
    "trivialaugment": (POLICIES["trivialaugment"], v2.TrivialAugmentWide(fill=0)),
    "autoaugment": (
        TorchvisionTransform("AutoAugment", {"policy": "svhn", "fill": 0}),
        v2.AutoAugment(v2.AutoAugmentPolicy.SVHN, fill=0),
    ),
    "augmix": (
        TorchvisionTransform("AugMix", {"all_ops": False, "fill": 0, "interpolation": "nearest"}),
        v2.AugMix(all_ops=False, fill=0, interpolation=v2.InterpolationMode.NEAREST),
    ),
    "color_jitter": (
        TorchvisionTransform("ColorJitter", {"brightness": 0.4, "hue": 0.1}),
        v2.ColorJitter(brightness=0.4, hue=0.1),
    ),
    "random_erasing": (
        TorchvisionTransform("RandomErasing", {"p": 0.5, **ERASING, "value": 9}),
        v2.RandomErasing(0.5, value=9),
    ),
    "flip_crop": (
        FlipCrop(0.5, 0.08, 1.0, 3 / 4, 4 / 3),
        v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(0.5)]),
    ),
}


def seeded(transform, seed: int, image=IMAGE) -> torch.Tensor:
    torch.manual_seed(seed)
    return transform(image.clone())


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_torchvisions_with_the_same_random_numbers(name: str) -> None:
    ours, theirs = PAIRS[name]
    pairs = [(seeded(ours, seed), seeded(theirs, seed)) for seed in range(25)]
    assert all(torch.equal(*pair) for pair in pairs)
    assert any(not torch.equal(changed, IMAGE) for changed, _ in pairs)


def test_policies_never_mirror_and_fill_with_black() -> None:
    spaces = (v2.RandAugment, v2.AutoAugment, v2.TrivialAugmentWide, v2.AugMix)
    names = {name.lower() for space in spaces for name in space._AUGMENTATION_SPACE}
    assert not any("flip" in name for name in names)
    for ours in POLICIES.values():
        least = min(int(seeded(ours, seed, WHITE).min()) for seed in range(30))
        assert least == 0


def test_images_are_mirrored_with_their_probability_or_never() -> None:
    mirrored = IMAGE.flip(-1)
    for prob, low, high in ((0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)):
        flip = FlipCrop(prob, 1.0, 1.0, 1.0, 1.0)
        assert low <= sum(torch.equal(seeded(flip, s), mirrored) for s in range(200)) <= high


def literal_cutout(image: np.ndarray, length: int, row: int, column: int) -> np.ndarray:
    """Cutout as the paper's code states it: a mask of ones, a clipped square of zeros."""
    height, width = image.shape[1:]
    mask = np.ones((height, width), image.dtype)
    y1, y2 = np.clip(row - length // 2, 0, height), np.clip(row + length // 2, 0, height)
    x1, x2 = np.clip(column - length // 2, 0, width), np.clip(column + length // 2, 0, width)
    mask[y1:y2, x1:x2] = 0
    return image * mask


def test_cutout_is_the_papers_formula() -> None:
    for seed in range(50):
        cut = seeded(Cutout(0.5, 0), seed)
        torch.manual_seed(seed)
        row, column = int(torch.randint(32, ())), int(torch.randint(32, ()))
        np.testing.assert_array_equal(cut, literal_cutout(IMAGE.numpy(), 16, row, column))


def test_cutout_may_leave_the_image_and_fills_with_its_grey() -> None:
    areas = {int((seeded(Cutout(0.5, 7), seed, WHITE)[0] == 7).sum()) for seed in range(100)}
    assert max(areas) == 16 * 16
    assert min(areas) < 16 * 16


def literal_gridmask(size: int, period: int, ratio: float, begin: tuple, angle: int) -> np.ndarray:
    """The authors' mask with mode 1, in numpy and PIL: 1 is kept."""
    canvas = int(1.5 * size)
    stripe = int(period * ratio + 0.5)
    mask = np.ones((canvas, canvas), np.float32)
    for number in range(-1, canvas // period + 1):
        for axis in (0, 1):
            start = period * number + begin[axis]
            lines = slice(max(min(start, canvas), 0), max(min(start + stripe, canvas), 0))
            mask[(lines, slice(None)) if axis == 0 else (slice(None), lines)] = 0
    turned = np.asarray(Image.fromarray(np.uint8(mask)).rotate(angle))
    corner = (canvas - size) // 2
    return 1 - turned[corner : corner + size, corner : corner + size]


@pytest.mark.parametrize("max_angle", [1, 360])
def test_gridmask_is_the_authors(max_angle: int) -> None:
    grid = GridMask(1.0, 96 / 224, 1.0, 0.6, max_angle, 0)
    for seed in range(40):
        torch.manual_seed(seed)
        kept = ~grid.mask(64, 64).numpy()
        torch.manual_seed(seed)
        period = int(torch.randint(27, 64, ()))
        shift = torch.randint(period, (2,)).tolist()
        angle = int(torch.randint(max_angle, ()))
        # The authors count from the canvas's corner, ours from the centre, 48 px away.
        begin = tuple((48 - number) % period for number in shift)
        expected = literal_gridmask(64, period, 0.6, begin, angle)
        # PIL rounds a turned pixel differently here and there.
        assert (kept != expected).mean() <= (0.0 if max_angle == 1 else 0.01)


def test_gridmask_keeps_its_share_and_has_its_probability() -> None:
    grid = GridMask(0.8, 96 / 224, 1.0, 0.6, 360, 0)
    seen = [seeded(grid, seed, WHITE) for seed in range(300)]
    changed = [float((image == 255).float().mean()) for image in seen if image.min() == 0]
    assert 0.72 < len(changed) / len(seen) <= 0.85
    assert abs(np.mean(changed) - 0.6 * (2 - 0.6)) < 0.02


@pytest.mark.parametrize(
    ("transform", "arguments", "message"),
    [
        ("RandAugmented", {}, "transform: must be the name of a transform .*'RandAugmented'"),
        ("functional", {}, "transform: must be the name of a transform .*'functional'"),
        (
            "AutoAugment",
            {"policy": "digits"},
            "arguments: must be arguments of AutoAugment .*digits",
        ),
        ("RandAugment", {"num": 2}, "arguments: must be arguments of RandAugment .*'num'"),
        ("RandomErasing", {"p": 2}, "arguments: must be arguments of RandomErasing .*interval"),
    ],
)
def test_what_torchvision_lacks_is_refused(transform: str, arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        TorchvisionTransform(transform, arguments).require()


@pytest.mark.parametrize(
    ("changed", "got"),
    [
        (TorchvisionTransform("Resize", {"size": 16}), r"Resize .*, got \(3, 16, 16\) torch.uint8"),
        (TorchvisionTransform("ConvertImageDtype", {}), r"ConvertImageDtype .* torch.float32;"),
        (AlbumentationsTransform("RandomCrop", {"height": 8, "width": 8}), "RandomCrop .*, 8, 8"),
        (TorchvisionTransform("RGB", {}), None),
    ],
)
def test_a_transform_keeps_size_and_type(changed: SampleTransform, got: str | None) -> None:
    if got is None:
        assert torch.equal(changed(IMAGE), IMAGE)
        return
    with pytest.raises(UserError, match=f"augmentation: {got}"):
        changed(IMAGE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlipCrop(0.5, 0.9, 0.5, 1, 1), "min_scale: must be at most max_scale (0.5)"),
        (lambda: FlipCrop(0.5, 0.5, 1, 2, 1), "min_aspect: must be at most max_aspect (1)"),
        (lambda: GridMask(1, 0.5, 0.4, 0.5, 1, 0), "min_period: must be at most max_period (0.4)"),
        (lambda: Cutout(0.5, 256), "fill: must be a whole number in [0, 255], got 256"),
    ],
)
def test_wrong_values_are_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make()


def test_pad_crop_is_a_window_of_the_padded_image() -> None:
    padded = np.pad(IMAGE.numpy(), ((0, 0), (4, 4), (4, 4)))
    seen = set()
    for seed in range(60):
        changed = seeded(PadCrop(4, 0.0), seed).numpy()
        places = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if np.array_equal(padded[:, y : y + 32, x : x + 32], changed)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 30
    assert torch.equal(seeded(PadCrop(0, 1.0), 0), IMAGE.flip(-1))


def test_albumentations_follows_torchs_random_numbers() -> None:
    import albumentations

    ours = AlbumentationsTransform("ElasticTransform", {"alpha": 30, "p": 1.0})
    theirs = albumentations.Compose([albumentations.ElasticTransform(alpha=30, p=1.0)])
    torch.manual_seed(3)
    theirs.set_random_seed(int(torch.randint(2**31, ())))
    wanted = theirs(image=IMAGE.permute(1, 2, 0).numpy())["image"]
    assert np.array_equal(seeded(ours, 3).permute(1, 2, 0), wanted)
    assert torch.equal(seeded(ours, 3), seeded(ours, 3))
    assert not torch.equal(seeded(ours, 3), seeded(ours, 4))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Elastic", {}, "transform: must be the name of a transform of albumentations"),
        ("Compose", {}, "transform: must be the name of a transform of albumentations"),
        (
            "ElasticTransform",
            {"alfa": 3},
            r"arguments: must be arguments of ElasticTransform \(.*alfa",
        ),
        ("ElasticTransform", {"alpha": -1}, "arguments: must be arguments of ElasticTransform"),
    ],
)
def test_what_albumentations_does_not_have_is_refused(
    name: str, arguments: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        AlbumentationsTransform(name, arguments).require()
