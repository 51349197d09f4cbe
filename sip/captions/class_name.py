"""The trivial captioner: says the class name and needs no model.

With it the whole pipeline runs where no captioner fits, and it is the floor for those that do.
"""

from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from sip.core.errors import UserError
from sip.core.hashing import digest
from sip.dataset.base import Sample


class ClassName:
    """One caption a picture: `template` with the class name at `{label}`."""

    def __init__(self, template: str) -> None:
        if "{label}" not in template:
            raise UserError(f"captions.template: expected {{label}} in it, came {template!r}")
        self.template = template

    def recipe(self) -> dict:
        """Return everything that decides what is written."""
        return {
            "class": "sip.captions.class_name.ClassName",
            "version": 1,
            "template": self.template,
        }

    def require(self) -> None:
        """Ask for nothing: there are no weights."""

    def load(self, device: str) -> None:
        """Load nothing: there are no weights."""

    def clear(self) -> None:
        """Let go of nothing: there are no weights."""

    def key(self, sample: Sample) -> str:
        """Return a hash of content and class: one picture may lie in the folders of two classes."""
        return digest(sample.sha256, sample.class_name)

    def prepare(self, pictures: Sequence[Image]) -> Tensor:
        """Return (pictures, 0): nothing needs to be seen."""
        return torch.empty(len(pictures), 0)

    def caption(self, samples: Sequence[Sample], pixels: Tensor) -> list[list[str]]:
        """Return one caption a sample."""
        return [[self.template.replace("{label}", sample.class_name)] for sample in samples]
