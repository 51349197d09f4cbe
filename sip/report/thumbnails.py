"""Small copies of images, as texts in the page itself."""

import base64
import io
from pathlib import Path

from PIL import Image

from sip.core.errors import DamagedError
from sip.records.files import ListedImage

LOSSLESS = 96  # px; up to this size pixels are kept as they are
QUALITY = 82  # of JPEG


class Thumbnails:
    """Small copies of image files, each file once.

    Args:
        size: Longer side of a copy, in px; smaller images keep their size.

    Attributes:
        sources: Key -> "data:" address.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sources: dict[str, str] = {}
        self._keys: dict[ListedImage, str | None] = {}

    def key(self, image: ListedImage | None) -> str | None:
        """Return the key of an image's copy; None if it is missing or damaged."""
        if image is None:
            return None
        if image not in self._keys:
            try:
                source = data_address(image.rgb(), self.size)
            except DamagedError:
                self._keys[image] = None
            else:
                self._keys[image] = key = f"p{len(self.sources)}"
                self.sources[key] = source
        return self._keys[image]


def data_address(image: Image.Image, size: int) -> str:
    """Return a copy of an RGB image, of `size` px at most, as a "data:" address."""
    small = image.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if max(small.size) <= LOSSLESS:
        small.save(stream, format="PNG", optimize=True)
        return _address("image/png", stream.getvalue())
    small.save(stream, format="JPEG", quality=QUALITY, optimize=True)
    return _address("image/jpeg", stream.getvalue())


def file_address(file: Path) -> str:
    """Return a PNG or SVG file as a "data:" address; shown as <img>, an SVG cannot run anything."""
    kind = {".png": "image/png", ".svg": "image/svg+xml"}[file.suffix]
    return _address(kind, file.read_bytes())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
