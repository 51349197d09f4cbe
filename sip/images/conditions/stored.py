"""Conditions that people have made: files, or a column of the data set.

Edges, depth, poses, segmentations: whatever the ControlNet was trained with.
"""

import hashlib
from typing import ClassVar

from PIL import ImageOps

from sip.core.component import component
from sip.core.image_io import opened
from sip.core.tars import read_bytes
from sip.core.text import reason_of
from sip.dataset.base import Sample
from sip.images.companions import Companions, InColumn, InFolder, require_shape
from sip.images.conditions.base import Condition


@component
class StoredConditions(Companions, Condition):
    """Conditions that are image files, each of the shape of its original."""

    key: ClassVar[str] = "images.condition"
    noun: ClassVar[str] = "condition"
    nature: ClassVar[str] = "images"
    instead: ClassVar[str] = "images/condition=canny"

    def look(self, path: str, sample: Sample) -> str:
        """Return the hash of a file's bytes.

        Raises:
            ValueError: It is no readable image, or has another shape.
        """
        try:
            content = read_bytes(path)
            with opened(content) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
        except Exception as error:  # of damaged files, of many kinds
            raise ValueError(reason_of(error)) from error
        require_shape(upright, sample.width, sample.height)
        return hashlib.sha256(content).hexdigest()


@component
class FileConditions(InFolder, StoredConditions):
    """A folder of conditions."""


@component
class ColumnConditions(InColumn, StoredConditions):
    """A column of conditions."""
