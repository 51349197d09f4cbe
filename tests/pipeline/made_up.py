"""Generated images as the store would hold them."""

from typing import Any

from sip.images.base import ImageRow
from sip.pipeline.stored import Candidates, StoredImage
from sip.prompts.base import Prompt


def stored(
    prompt: Prompt, file: str | None, candidates: Candidates = (), **changes: Any
) -> StoredImage:
    """Return an image of 32 px that is ok, but for the changes to its row."""
    values: dict[str, Any] = {
        "key": prompt.image_id,
        "sample_id": prompt.sample_id,
        "label": prompt.label,
        "width": 32,
        "height": 32,
        "unet_evaluations": 50,
        "seconds": 0.1,
        "status": "ok",
        "file": file,
    }
    return StoredImage(prompt, ImageRow(**values | changes), candidates)
