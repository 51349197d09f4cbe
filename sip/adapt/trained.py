"""What a method adds to a loaded model and trains."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from sip.images.families.sd import StableDiffusion


class Trained(ABC):
    """The trained part of a model.

    Attributes:
        family: The model.
        changes_texts: Whether the same prompt gets another embedding after each step.
    """

    changes_texts: bool

    def __init__(self, family: "StableDiffusion") -> None:
        self.family = family

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is trained, float32."""
        return (weight for weight in self.family.parameters() if weight.requires_grad)

    @abstractmethod
    def content(self) -> bytes:
        """Return the file that diffusers loads; the same weights give the same bytes."""
