"""Small coloured fractals to blend images with, made from a number and nothing else.

Iterated function systems, made by the chaos game (Barnsley, Fractals Everywhere, 1988): a point
jumps again and again by one of a few random contractions, and what it visits is the fractal. As in
fractal flames (Draves), a point's colour is an average of the colours of its last contractions, and
brightness is the logarithm of the number of visits. The numbers below are ours.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sip.core.shapes import Size

NUM_MAPS = (3, 7)  # contractions of a fractal, the second excluded
LARGEST, SMALLEST = (0.5, 0.85), (0.25, 0.5)  # singular values of a contraction
POINTS = 2048  # that jump side by side
BURN_IN = 16  # jumps before a point has reached the fractal
VISITS = 8  # a pixel
FINEST = 256  # px, of the fractal itself; larger ones are scaled up
FIRST = 32768  # points that the frame is laid around
TRIM = 1.0  # %, of the points on each side, that lie outside the image
KEPT = 256


@lru_cache(KEPT)
def fractal(seed: int, size: Size) -> NDArray[np.uint8]:
    """Return the fractal of a seed as an image (3, H, W), uint8.

    Args:
        seed: Any number >= 0.
        size: Width and height; the fractal is the same in all sizes but for its grain.
    """
    rng = np.random.default_rng(seed)
    num = int(rng.integers(*NUM_MAPS))
    linear = _contractions(rng, num)
    shift = rng.uniform(-1, 1, (num, 2))
    colours = rng.uniform(0, 1, (num, 3))
    background = rng.uniform(0, 1, 3)
    area = np.abs(np.linalg.det(linear)) + 0.05  # a larger part is visited more often
    finest = min(max(size), FINEST)
    visits = max(FIRST, VISITS * finest * finest)
    places, shades = _jump(rng, linear, shift, colours, area / area.sum(), visits)
    image = Image.fromarray(_image(places, shades, background, finest))
    scaled = image.resize(size, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1))


def _contractions(rng: np.random.Generator, num: int) -> NDArray[np.float64]:
    """Return linear maps (num, 2, 2): turned, scaled, half of them mirrored, turned again."""
    turns = [_turn(angle) for angle in rng.uniform(0, 2 * np.pi, 2 * num)]
    scales = np.stack([rng.uniform(*LARGEST, num), rng.uniform(*SMALLEST, num)], axis=1)
    scales[:, 1] *= rng.choice([-1, 1], num)
    return np.stack(
        [turns[2 * one] @ np.diag(scales[one]) @ turns[2 * one + 1] for one in range(num)]
    )


def _turn(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _jump(
    rng: np.random.Generator,
    linear: NDArray[np.float64],
    shift: NDArray[np.float64],
    colours: NDArray[np.float64],
    chances: NDArray[np.float64],
    visits: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at least `visits` places (n, 2) and their colours (n, 3)."""
    place, shade = np.zeros((POINTS, 2)), np.full((POINTS, 3), 0.5)
    places, shades = [], []
    for jump in range(BURN_IN - (-visits // POINTS)):
        which = rng.choice(len(linear), POINTS, p=chances)
        place = np.einsum("pij,pj->pi", linear[which], place) + shift[which]
        shade = (shade + colours[which]) / 2
        if jump >= BURN_IN:
            places.append(place)
            shades.append(shade)
    return np.concatenate(places), np.concatenate(shades)


def _image(
    places: NDArray[np.float64],
    shades: NDArray[np.float64],
    background: NDArray[np.float64],
    size: int,
) -> NDArray[np.uint8]:
    """Return the visited places as an image (size, size, 3), uint8."""
    low, high = np.percentile(places[:FIRST], [TRIM, 100 - TRIM], axis=0)
    cells = np.floor((places - low) / np.maximum(high - low, 1e-9) * size).astype(np.int64)
    inside = ((cells >= 0) & (cells < size)).all(1)
    index = cells[inside, 1] * size + cells[inside, 0]
    visits = np.bincount(index, minlength=size * size)
    sums = [np.bincount(index, shades[inside, c], minlength=size * size) for c in range(3)]
    mean = np.stack(sums, axis=1) / np.maximum(visits, 1)[:, None]
    density = (np.log1p(visits) / np.log1p(max(visits.max(), 1)))[:, None]
    pixels = background * (1 - density) + mean * density
    return np.rint(pixels * 255).astype(np.uint8).reshape(size, size, 3)
