"""Masks that people have made: files, or a column of the data set."""

from typing import ClassVar

from sip.core.component import component
from sip.dataset.base import Sample
from sip.images.companions import Companions, InColumn, InFolder
from sip.images.masks.base import Masks
from sip.images.masks.files import look_at_mask


@component
class StoredMasks(Companions, Masks):
    """Masks that are image files, each of the shape of its original."""

    key: ClassVar[str] = "images.masks"
    noun: ClassVar[str] = "mask"
    nature: ClassVar[str] = "black and white images"
    instead: ClassVar[str] = "images/masks=clipseg"

    def look(self, path: str, sample: Sample) -> str:
        """Return the hash of a mask's bytes; raises as `look_at_mask`, or if all is kept."""
        seen = look_at_mask(path, sample.width, sample.height)
        if not (seen.has_black if self.kept == "white" else seen.has_white):
            raise ValueError("keeps the whole image")
        return seen.sha256


@component
class FileMasks(InFolder, StoredMasks):
    """A folder of masks."""


@component
class ColumnMasks(InColumn, StoredMasks):
    """A column of masks."""
