"""The diffusion models that the engine can draw with, by the class that their folder names."""

from sip.core.errors import UserError
from sip.images.families.base import Family
from sip.images.families.layout import Layout
from sip.images.families.sd import StableDiffusion
from sip.images.families.sd3 import StableDiffusion3
from sip.images.families.sdxl import StableDiffusionXL

FAMILIES: dict[str, type[Family]] = {
    name: family
    for family in (StableDiffusion, StableDiffusionXL, StableDiffusion3)
    for name in family.pipelines
}


def family_of(layout: Layout) -> type[Family]:
    """Return the family of a model folder.

    Raises:
        UserError: Its pipeline class is not known; lists the known ones.
    """
    if layout.pipeline not in FAMILIES:
        raise UserError(
            f"images.model: {layout.folder} holds a {layout.pipeline}; expected one of "
            f"{', '.join(FAMILIES)}"
        )
    return FAMILIES[layout.pipeline]
