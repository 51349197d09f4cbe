"""CLIPSeg: the part of an image that fits the name of its class, as a mask.

Source: Lüddecke and Ecker, "Image segmentation using text and image prompts", CVPR 2022, arXiv
2112.10003, by transformers. It sees the square that is generated from.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.core.component import component
from sip.core.hashing import digest
from sip.core.ranges import Rate
from sip.core.templates import cut
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.images.masks.base import Masks
from sip.prompts.base import Companion
from sip.weights.pretrained import Pretrained

if TYPE_CHECKING:
    from sip.images.masks.segmenter import Segmenter


@component
class ClipSeg(Pretrained, Masks):
    """Finds what a text names.

    Args:
        text: What is looked for and marked white; `{label}` is the name of the class.
        threshold: Probability from which a pixel counts as found, in (0, 1].
    """

    model_class: ClassVar[str] = "CLIPSegForImageSegmentation"

    text: str
    threshold: Rate

    def __post_init__(self) -> None:
        """Refuse a text with other fields."""
        cut("text", self.text, ("label",))

    def of(self, samples: Sequence[Sample]) -> dict[str, Companion]:
        """Return sample_id -> what the model is asked for."""
        masks = {}
        for sample in samples:
            text = self.text.format(label=sample.class_name)
            masks[sample.sample_id] = Companion(digest("text", text), text=text)
        return masks

    def load(self, runtime: Runtime) -> "Segmenter":
        """Return a new model on the device."""
        from sip.images.masks.segmenter import Segmenter

        processor, network = self.read_processor(), self.read_network(runtime.device)
        return Segmenter(processor, network, self.threshold)

    def _processor(self, folder: Path) -> Any:
        from transformers import CLIPSegProcessor

        return CLIPSegProcessor.from_pretrained(folder, backend="pil")
