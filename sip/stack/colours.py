"""Colours by name: the eleven basic colour terms, by the nearest prototype in CIELAB.

The terms are those of Berlin and Kay, Basic Color Terms (1969). CIELAB: CIE 15:2004 with the white
point D65; sRGB: IEC 61966-2-1. The prototypes, several a term, are ours: typical tones of each,
light and dark ones among them.
"""

import torch
from torch import Tensor

# term -> sRGB, 0 to 255
PROTOTYPES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (35, 35, 35)),
    "white": ((255, 255, 255), (232, 232, 232)),
    "grey": ((128, 128, 128), (85, 85, 85), (175, 175, 175), (125, 135, 145)),
    "red": ((220, 20, 30), (150, 20, 25), (205, 70, 65)),
    "orange": ((255, 140, 0), (230, 110, 40), (245, 165, 85)),
    "yellow": ((255, 230, 0), (230, 210, 90), (255, 245, 150)),
    "green": ((0, 150, 40), (75, 115, 55), (130, 190, 90), (35, 65, 35)),
    "blue": ((0, 60, 220), (60, 110, 180), (130, 180, 230), (25, 40, 90)),
    "purple": ((120, 30, 150), (150, 110, 190), (70, 30, 80)),
    "pink": ((255, 150, 190), (230, 90, 150), (240, 190, 200)),
    "brown": ((110, 70, 35), (150, 110, 75), (80, 50, 35), (185, 155, 120)),
}
COLOURS = tuple(PROTOTYPES)
TO_XYZ = (  # linear sRGB to CIE XYZ, D65
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)  # D65, 2 degrees
EPSILON, KAPPA = 216 / 24389, 24389 / 27  # of the CIE standard


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Turn sRGB (..., 3), in [0, 1], into CIELAB (..., 3): L in [0, 100], a, b about +-100."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ rgb.new_tensor(TO_XYZ).T / rgb.new_tensor(WHITE)
    root = xyz.clamp(min=EPSILON) ** (1 / 3)
    f = torch.where(xyz > EPSILON, root, (KAPPA * xyz + 16) / 116)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def colour_of(lab: Tensor) -> Tensor:
    """Return the place in `COLOURS` of the nearest prototype of each colour: (..., 3) -> (...)."""
    tones = [tone for term in PROTOTYPES.values() for tone in term]
    owner = torch.tensor([n for n, term in enumerate(PROTOTYPES.values()) for _ in term])
    known = rgb_to_lab(torch.tensor(tones, dtype=lab.dtype, device=lab.device) / 255)
    nearest = torch.cdist(lab.reshape(-1, 3), known).argmin(1)
    return owner.to(lab.device)[nearest].view(lab.shape[:-1])


def most_common(colours: Tensor, mask: Tensor) -> Tensor:
    """Return the colour (N,) that most pixels inside a mask have.

    Args:
        colours: (N, H, W), int64, places in `COLOURS`.
        mask: (H, W), bool.
    """
    inside = colours[:, mask]
    counts = torch.zeros(len(inside), len(COLOURS), device=colours.device)
    return counts.scatter_add_(1, inside, torch.ones_like(inside, dtype=counts.dtype)).argmax(1)
