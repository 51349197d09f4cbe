"""The four places of an arm at which images are changed.

`offline` says whether generated images join the real ones, `base` and then `sample` change each
image while training, `mix` a batch or its feature maps. A combination fills several of them. All
arms of a comparison share one `base`, so that geometry is not taken for the method's gain.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, overload

from sip.augmentation.sample.base import SampleTransform
from sip.augmentation.sample.none import AsIs
from sip.core.component import Component, Part, added, component
from sip.core.errors import ValueRefusedError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Sources = Sequence[int | None]  # for each image the position of its original; None: it is real


class SourceNumbers(Sequence[int | None]):
    """For each image the position of its original, None for a real one, in four bytes.

    Attributes:
        numbers: The same, (N,), int32, negative for None.
    """

    def __init__(self, numbers: "np.ndarray") -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, position: int) -> int | None: ...

    @overload
    def __getitem__(self, position: slice) -> list[int | None]: ...

    def __getitem__(self, position: int | slice) -> int | None | list[int | None]:
        if isinstance(position, slice):
            return [*SourceNumbers(self.numbers[position])]
        number = int(self.numbers[position])
        return None if number < 0 else number

    def __iter__(self) -> Iterator[int | None]:
        for start in range(0, len(self), 4096):
            for number in self.numbers[start : start + 4096].tolist():
                yield None if number < 0 else number


class OfflineMode(Protocol):
    """What is generated before training, and how it enters the training."""

    generates: ClassVar[bool]  # True: generated images are asked for

    @property
    def reads_probability(self) -> bool:
        """Whether each generated image needs a verdict with the probability of its label."""

    def recipe(self) -> dict:
        """Return everything that decides which training images there are."""

    def pool(self, sources: Sources, seed: int) -> Sequence[int]:
        """Return the positions of the images that one pass of the training goes through."""

    def order(self, sources: Sources, length: int, seed: int) -> "Tensor":
        """Return which image is seen at each position of the training: (length,), int64.

        One random order of the pool after the other, a function of the arguments only.
        """

    def weights(self, sources: Sources, probabilities: Sequence[float | None]) -> "Tensor | None":
        """Return each image's weight in the loss, (N,), float32, > 0; None if all are 1.

        Args:
            sources: Position of each image's original; None: it is real.
            probabilities: Probability of each label, by the verdict on the image; None if unknown.
        """


class Mix(Component, ABC):
    """A change of a batch, before or inside the network.

    It calls the model itself, since some mix feature maps through hooks. Random numbers as in
    `SampleTransform`, seeded for each step. The batch size B is any number >= 1.
    """

    def require(self, network: "nn.Module") -> None:
        """Check that the change can be applied to a network.

        Raises:
            UserError: It cannot.
        """
        return

    @abstractmethod
    def __call__(
        self, model: "Callable[[Tensor], Tensor]", images: "Tensor", targets: "Tensor"
    ) -> "tuple[Tensor, Tensor]":
        """Return the model's logits (B, num_classes) and the targets to train them to.

        Args:
            model: From images to logits.
            images: (B, 3, H, W), float32, normalised with mean and std.
            targets: (B, num_classes), float32, the probability of each class, times the image's
                weight in the loss. They are mixed linearly, and the weights with them.
        """


@component
class Augmentation(Component):
    """An arm: one choice for each place; `base` is the same for all arms of a comparison."""

    offline: Part[OfflineMode]
    sample: Part[SampleTransform]
    mix: Part[Mix]
    base: Part[SampleTransform] = added(neutral=AsIs())

    @property
    def transforms(self) -> tuple[SampleTransform, ...]:
        """What changes each image, real or generated, while training; in order."""
        return tuple(one for one in (self.base, self.sample) if one != AsIs())

    def check(self) -> None:
        """Check what needs no network, before any costly work.

        Raises:
            UserError: A change of images cannot be built.
        """
        for place in ("base", "sample"):
            try:
                getattr(self, place).require()
            except ValueRefusedError as error:
                raise error.below(f"augmentation.{place}") from None

    def require(self, network: "nn.Module") -> None:
        """Check before any costly work that a network can be trained with this arm.

        Raises:
            UserError: It cannot.
        """
        self.mix.require(network)
