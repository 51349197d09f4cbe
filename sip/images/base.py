"""What the images stage produces, one `ImageResult` for each prompt, and what generates it.

A generator has two parts: a component, which knows everything that can be known before weights are
loaded and costs next to nothing to build, and the LightningModule that its `load` returns.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sip.core.component import component, ignored, refuse
from sip.core.image_io import Format
from sip.core.progress import say
from sip.core.ranges import Count, Share
from sip.core.shapes import MOST_RATIO, Size, used_part
from sip.core.spill import ByKey, Joined, Spilled
from sip.core.text import counted
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.images.sized import Sized
from sip.prompts.base import Companion, Prompt
from sip.store.shards import Storage

if TYPE_CHECKING:
    from torch import Tensor

    from sip.device.module import PredictionModule

# Why an image may be missing: its source cannot be read, or what was generated is unusable.
REASONS = ("unreadable", "not finite", "black", "flagged")
CompanionsByField = Mapping[Literal["mask", "condition"], Mapping[str, Companion]]


@dataclass(frozen=True)
class ImageResult:
    """A generated image, or the reason why there is none.

    Attributes:
        image_id: Id of the image, from its prompt.
        pixels: (3, H, W), float32, in [0, 1], on the CPU; None if `status` is "failed".
        unet_evaluations: Forward passes of the denoiser for this image: executed steps, twice
            with guidance. 0 if it failed before the first.
        seconds: This image's share of its batch's time.
        status: "ok" or "failed".
        reason: One of `REASONS`, if it failed.
        error: The same in a line for people.
        size: What it is stored at; None: that of `pixels`.
    """

    image_id: str
    pixels: "Tensor | None"
    unet_evaluations: int
    seconds: float
    status: str = "ok"
    reason: str | None = None
    error: str | None = None
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A generated image in the store.

    Attributes:
        key: The `image_id` of its prompt.
        sample_id: Id of its original.
        label: Class index of its prompt: the class that it is to show.
        width: In px; None if it failed, as `height` is.
        height: In px.
        unet_evaluations: As in `ImageResult`.
        seconds: As in `ImageResult`.
        status: "ok" or "failed"; "rejected" if a filter took it out.
        reason: Why, in a few words that are counted; None if it is ok.
        error: The same in a line for people.
        file: Path of the file, set by the store; None if it failed.
        file_sha256: Hash of the file.
    """

    key: str
    sample_id: str
    label: int
    width: int | None
    height: int | None
    unet_evaluations: int
    seconds: float
    status: str
    reason: str | None = None
    error: str | None = None
    file: str | None = None
    file_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as the store takes it, without what the store adds."""
        return {name: getattr(self, name) for name in MADE}


BY_STORE = ("file", "file_sha256")
MADE = [field.name for field in fields(ImageRow) if field.name not in BY_STORE]


@component
class Generator(Sized, ABC):
    """Generates images from a list of prompts; an image depends only on its own prompt.

    Args:
        per_sample: Images generated from each original; the pipeline passes it to the prompts.
        balance: Whether small classes get more images of each original (`sip.images.balance`).
        max_per_sample: Most images of an original, with `balance`; None: no bound.
        max_failed: Share of the images that may fail before the run counts as failed.
        format: File format of the images: "png", "jpeg" or "webp".
        storage: "files" or "webdataset".
    """

    reads_source: ClassVar[bool]  # whether the original's pixels are needed
    kind: ClassVar[str] = "generated"  # what a run's list calls its images

    per_sample: Count = ignored()
    max_failed: Share = ignored()
    format: Format
    storage: Storage = ignored()
    # Neither changes an image, only how many there are: `Components.recipe` says so.
    balance: bool = ignored(neutral=False)
    max_per_sample: Count | None = ignored(neutral=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_per_sample is not None and not self.balance:
            fix = "add images.balance=true"
            raise refuse("max_per_sample", "null without images.balance", self.max_per_sample, fix)

    @property
    def reads_noise_rate(self) -> bool:
        """Whether the noise rate says how far an image goes from its original."""
        return self.reads_source

    @property
    def unread(self) -> frozenset[str]:
        """Facts of a prompt, by their columns in a run's list, that play no part in an image."""
        return frozenset() if self.reads_noise_rate else frozenset({"noise_rate"})

    @abstractmethod
    def load(self, runtime: Runtime) -> "PredictionModule":
        """Return a new module with the weights on the device, an `ImageModule`.

        Raises:
            UserError: As `require`.
        """

    def require(self) -> None:
        """Make sure, without loading, that the weights are on this disk; may download them.

        Raises:
            UserError: They cannot be had.
        """

    def preview(self) -> None:
        """Check what the configuration says, before weights of any stage are looked for.

        Raises:
            UserError: No image can be generated with it.
        """

    def completed(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> Sequence[Prompt]:
        """Return prompts with what is read of their originals next to the pixels.

        Raises:
            UserError: As `companions_of`.
        """
        companions = self.companions_of(samples)
        if not companions and not self.keeps_aspect:
            return prompts
        masks, conditions = companions.get("mask", {}), companions.get("condition", {})
        sizes: Mapping[str, Size] = {}
        if self.keeps_aspect:
            sizes = ByKey(Joined(attrgetter("sample_id"), samples), Joined(_size, samples))
        return Spilled(
            replace(
                prompt,
                source_size=sizes[prompt.sample_id] if self.keeps_aspect else None,
                mask=masks.get(prompt.sample_id),
                condition=conditions.get(prompt.sample_id),
            )
            for prompt in prompts
        )

    def companions_of(self, samples: Sequence[Sample]) -> CompanionsByField:
        """Return field of `Prompt` -> sample_id -> image of each original, of those that are read.

        Raises:
            UserError: Images are missing or do not fit; names them.
        """
        return {}

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check the prompts before any work.

        Raises:
            UserError: An image cannot be generated from one of them.
        """

    def foresee(self, prompts: Sequence[Prompt]) -> None:
        """Check, before captions are made, what holds whatever they say.

        Args:
            prompts: One of each class, with an empty caption.

        Raises:
            UserError: No image can be generated as it is described.
        """

    def examine(self, prompts: Sequence[Prompt]) -> None:
        """Check what matters only if images are generated, and say what of it is remarkable.

        Args:
            prompts: Those of the images that are to be generated.

        Raises:
            UserError: They cannot be generated as they are described.
        """
        sizes = ((prompt.sample_id, prompt.source_size) for prompt in prompts)
        if num := len({name for name, size in sizes if size and used_part(size) != size}):
            them = "its central part is used" if num == 1 else "their central parts are used"
            say("images", f"{counted(num, 'original')} longer than {MOST_RATIO}:1: {them}")

    def group(self, prompt: Prompt) -> Hashable:
        """Return what rows must share in order to be generated in one batch."""
        return self.size_of(prompt)

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return the cost of this image in forward passes of the denoiser; 0 without one."""
        return 1

    def num_control_evaluations(self, prompt: Prompt) -> int:
        """Return the forward passes of a ControlNet for this image."""
        return 0


def _size(sample: Sample) -> Size:
    return Size(sample.width, sample.height)
