"""The sizes of images: squares, or the originals' own aspect ratios in buckets."""

from functools import cached_property
from typing import Literal

from sip.core.component import Component, added, component, refuse
from sip.core.ranges import Count
from sip.core.shapes import Size, buckets, default_step, nearest, own_size
from sip.prompts.base import Prompt

LEAST_STEPS = 4  # along a square's side: with fewer there are hardly any shapes


@component
class Sized(Component):
    """Decides what an original is scaled to, and what is stored.

    Args:
        size: Height and width of the images, in px; with `aspect` "keep", of a square of as many
            pixels.
        aspect: "square": of an original the central square is used. "keep": an image has the aspect
            ratio of its original, and its size, unless that has more pixels.
        aspect_step: With "keep", sides of generated images are multiples of it, in px; None: of
            about a sixteenth of `size`.
    """

    size: Count
    aspect: Literal["square", "keep"] = added(neutral="square")
    aspect_step: Count | None = added(neutral=None)

    def __post_init__(self) -> None:
        if self.aspect_step is not None and not self.keeps_aspect:
            fix = "add images.aspect=keep"
            raise refuse("aspect_step", "null without images.aspect=keep", self.aspect_step, fix)

    @property
    def keeps_aspect(self) -> bool:
        """Whether images have the aspect ratios of their originals."""
        return self.aspect == "keep"

    @property
    def side_units(self) -> tuple[int, int]:
        """What sides are best multiples of, and what they must be multiples of, in px."""
        return 1, 1

    def require_step(self) -> None:
        """Check `aspect_step` with the model.

        Raises:
            UserError: The model cannot generate such sides, or too few sizes are left.
        """
        if self.aspect_step is None:
            return
        least, most = self.side_units[1], self.size // LEAST_STEPS
        if self.aspect_step % least or self.aspect_step > most:
            rule = f"a multiple of {least} px for this model and at most {most}"
            raise refuse("images.aspect_step", rule, self.aspect_step, "set null, or such a number")

    @cached_property
    def sizes(self) -> list[Size]:
        """All sizes of generated images that keep their aspect ratio."""
        return buckets(self.size, self.aspect_step or default_step(self.size, *self.side_units))

    def size_of(self, prompt: Prompt) -> int | Size:
        """Return what an original is scaled to, and generated at: a square's side, or a bucket."""
        return self._bucket(prompt.source_size) if self.keeps_aspect else self.size

    def size_name(self, original: Size | None) -> str:
        """Return the size that an original is generated at, in words; empty for squares."""
        return str(self._bucket(original)) if self.keeps_aspect else ""

    def _bucket(self, original: Size | None) -> Size:
        if original is None or 0 in original:  # not known, or not readable
            original = Size(self.size, self.size)
        known = self._nearest
        if original not in known:
            known[original] = nearest(original, self.sizes)
        return known[original]

    @cached_property
    def _nearest(self) -> dict[Size, Size]:
        return {}

    def stored_size(self, original: Size | None) -> Size | None:
        """Return the size that an image of this original is stored at; None: as it is generated."""
        if not self.keeps_aspect or original is None or 0 in original:
            return None
        return own_size(original, self.size**2)
