"""The trivial captioner: the class name, without a model.

It runs the pipeline without a captioning model, and is the baseline for captioners.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sip.core.component import Component, component, refuse
from sip.core.hashing import digest
from sip.dataset.base import Sample
from sip.device.settings import Runtime

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from sip.captions.module import CaptionModule


@component
class ClassName(Component):
    """One caption for each image.

    Args:
        template: The caption, with the class name at `{label}`.
    """

    template: str

    def __post_init__(self) -> None:
        if "{label}" not in self.template:
            raise refuse("template", "text with {label} in it", self.template)

    def require(self) -> None:
        """Return: there are no weights to check."""

    def key(self, sample: Sample) -> str:
        """Return a hash of content and class: one image may lie in the folders of two classes."""
        return digest(sample.sha256, sample.class_name)

    def load(self, runtime: Runtime) -> "CaptionModule":
        """Return a module without weights."""
        from sip.captions.module import CaptionModule

        return CaptionModule(self.key, _nothing, self.caption)

    def caption(self, samples: Sequence[Sample], pixels: "Tensor") -> list[list[str]]:
        """Return one caption for each sample."""
        return [[self.template.replace("{label}", sample.class_name)] for sample in samples]


def _nothing(images: Sequence["Image"]) -> "Tensor":
    """Return (images, 0): the captions do not depend on the pixels."""
    import torch

    return torch.empty(len(images), 0)
