"""What a scan of a digit looks like, measured, and the small grammar that says it.

Four attributes are measured on the grey picture, white ink on black. The words for them are set
by the 30 % and 70 % quantiles over the `pretrain` part, so a caption carries what the label does
not. The miniature captioner, scorer and diffusion model all learn from these sentences.
"""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

ATTRIBUTES = ("thickness", "slant", "width", "balance")
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# attribute -> level (0 low, 1 middle, 2 high) -> phrasings
PHRASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "thickness": (
        ("thin strokes", "fine lines", "a light pen"),
        ("medium strokes", "an ordinary pen"),
        ("thick strokes", "bold lines", "a heavy pen"),
    ),
    "slant": (
        ("leaning left", "tilted to the left"),
        ("upright", "standing straight"),
        ("leaning right", "tilted to the right"),
    ),
    "width": (
        ("narrow", "slim"),
        ("of medium width", "of ordinary width"),
        ("wide", "broad"),
    ),
    "balance": (
        ("heavy at the top", "fuller above"),
        ("evenly balanced", "balanced"),
        ("heavy at the bottom", "fuller below"),
    ),
}
OPENINGS = ("a handwritten digit", "a scan of a digit", "a digit")
NUM_STATED = 3  # attributes a caption states


@dataclass(frozen=True)
class Thresholds:
    """Per attribute the values that part low from middle and middle from high."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def levels(self, values: Tensor) -> Tensor:
        """Turn measured values (N, 4) into levels (N, 4), int64, 0 low, 1 middle, 2 high."""
        low, high = torch.tensor(self.low), torch.tensor(self.high)
        return (values > low).long() + (values > high).long()


def measure(grey: Tensor) -> Tensor:
    """Measure the four attributes.

    Args:
        grey: (N, H, W), float32, in [0, 1], white ink on black.

    Returns:
        (N, 4), float32: stroke thickness in px (twice the ink over the length of its edge);
        slant as dx/dy of the ink's second moments, positive to the right; horizontal spread in
        px; vertical centre of mass in [0, 1], 1 is the bottom.
    """
    num, height, width = grey.shape
    ink = grey.clamp(0, 1)
    dx, dy = ink.diff(dim=2)[:, :-1], ink.diff(dim=1)[:, :, :-1]
    edge = (dx**2 + dy**2).sqrt().sum((1, 2))
    mass = ink.sum((1, 2)).clamp(min=1e-6)
    x = torch.arange(width, dtype=ink.dtype).view(1, 1, -1)
    y = torch.arange(height, dtype=ink.dtype).view(1, -1, 1)
    centre_x = (ink * x).sum((1, 2)) / mass
    centre_y = (ink * y).sum((1, 2)) / mass
    x0, y0 = x - centre_x.view(-1, 1, 1), y - centre_y.view(-1, 1, 1)
    var_y = ((ink * y0**2).sum((1, 2)) / mass).clamp(min=1e-6)
    slant = -(ink * x0 * y0).sum((1, 2)) / mass / var_y
    spread = ((ink * x0**2).sum((1, 2)) / mass).sqrt()
    thickness = 2 * mass / edge.clamp(min=1e-6)
    return torch.stack([thickness, slant, spread, centre_y / (height - 1)], dim=1)


def thresholds(values: Tensor) -> Thresholds:
    """Return the 30 % and 70 % quantiles of measured values (N, 4)."""
    low, high = torch.quantile(values, torch.tensor([0.3, 0.7]), dim=0)
    return Thresholds(tuple(low.tolist()), tuple(high.tolist()))


def caption(levels: Tensor, rng: random.Random) -> str:
    """Write one sentence that is true of a picture with these levels (4,)."""
    stated = rng.sample(range(len(ATTRIBUTES)), NUM_STATED)
    parts = [rng.choice(PHRASES[ATTRIBUTES[a]][int(levels[a])]) for a in stated]
    # thickness reads as "with ..."; the others stand alone
    worded = [
        f"with {part}" if ATTRIBUTES[a] == "thickness" else part
        for a, part in zip(stated, parts, strict=True)
    ]
    return f"{rng.choice(OPENINGS)}, {', '.join(worded)}"


def claims(sentence: str) -> dict[str, int]:
    """Return what a sentence says: attribute -> level. Phrases outside the grammar say nothing."""
    found: dict[str, int] = {}
    parts = [p.strip().removeprefix("with ").strip() for p in sentence.lower().split(",")]
    for attribute, by_level in PHRASES.items():
        for level, phrases in enumerate(by_level):
            if any(part in phrases for part in parts):
                found[attribute] = level
    return found


def vocabulary() -> list[str]:
    """Return every word that captions and label prompts can hold, sorted."""
    texts = [*OPENINGS, *DIGIT_NAMES, "with", "a photo of a", ","]
    texts += [p for by_level in PHRASES.values() for ps in by_level for p in ps]
    return sorted({word for text in texts for word in text.split()})
