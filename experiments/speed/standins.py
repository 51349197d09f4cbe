"""Stand-ins that cost next to nothing, for measuring all that is not a model.

They are components like those of SIP, which a configuration names with `SIP_TRUSTED=experiments`.
The pipeline around them is the real one: reading, keys, batches, queues, encoding, store.
"""

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.core.component import Component, component, ignored
from sip.core.hashing import digest
from sip.core.spill import Spilled
from sip.dataset.base import Sample, Split
from sip.device.settings import Runtime
from sip.images.base import Generator, ImageResult
from sip.images.batches import Batch
from sip.images.module import ImageModule
from sip.prompts.base import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from sip.captions.module import CaptionModule
    from sip.scores.module import ScoreModule

NUM_CLASSES = 100
NUM_FILES = 16  # that all originals share
NUM_HELD_OUT = 200  # originals of val, and of test
WIDTH = 16  # of a vector that stands for an image or a text


@component
class Repeated(Component):
    """A data set whose originals share a few files; each has a content hash of its own.

    Args:
        root: Folder of the files; they are written if they are missing.
        num: Originals of train.
        side: Side of an image, px.
    """

    root: str = ignored()
    num: int
    side: int

    @property
    def class_names(self) -> Sequence[str]:
        """Names of two words."""
        return [f"thing {label}" for label in range(NUM_CLASSES)]

    def samples(self, split: Split) -> Sequence[Sample]:
        """Return the rows of one split, as a reader of files does."""
        return Spilled(self._samples(split))

    def _samples(self, split: Split) -> Iterator[Sample]:
        files = self._files()
        names = self.class_names
        for number in range(self.num if split == "train" else NUM_HELD_OUT):
            label = number % NUM_CLASSES
            name = f"{split}/{names[label]}/image_{number:08d}.png"
            sha256 = digest(split, number)
            file = files[number % NUM_FILES]
            yield Sample(name, file, label, names[label], split, self.side, self.side, sha256)

    def _files(self) -> list[str]:
        import torch

        from sip.core.files import write_atomically
        from sip.core.image_io import encode

        files = [Path(self.root).absolute() / f"{number:02d}.png" for number in range(NUM_FILES)]
        files[0].parent.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(files):
            if not file.exists():
                generator = torch.Generator().manual_seed(number)
                pixels = torch.rand(3, 8, 8, generator=generator)
                large = torch.nn.functional.interpolate(pixels[None], self.side, mode="bilinear")
                write_atomically(file, encode(large[0], "png"))
        return [str(file) for file in files]


@component
class Captions(Component):
    """Two captions for each image, of usual length and different for each original."""

    def require(self) -> None:
        """Return: there are no weights to check."""

    def key(self, sample: Sample) -> str:
        """Return a hash of the content."""
        return digest(sample.sha256)

    def load(self, runtime: Runtime) -> "CaptionModule":
        """Return a module without weights."""
        import torch

        from sip.captions.module import CaptionModule

        return CaptionModule(self.key, lambda images: torch.empty(len(images), 0), self.caption)

    def caption(self, samples: Sequence[Sample], pixels: Any) -> list[list[str]]:
        """Return captions that name the original."""
        return [
            [
                f"an image of {sample.class_name} number {sample.sha256[:6]} in front of {what}"
                for what in ("a wall", "a wide open field")
            ]
            for sample in samples
        ]


@component
class Scores(Component):
    """Cosines of vectors that are made of the mean colour and of the length of the text."""

    def require(self) -> None:
        """Return: there are no weights to check."""

    def load(self, runtime: Runtime) -> "ScoreModule":
        """Return a module without weights."""
        import torch

        from sip.scores.module import ScoreModule

        def prepare(images: Sequence[Any]) -> "Tensor":
            return torch.tensor([image.resize((1, 1)).getpixel((0, 0)) for image in images])

        def of_images(pixels: "Tensor") -> "Tensor":
            return torch.cat([pixels.float(), torch.ones(len(pixels), WIDTH - 3)], dim=1)

        def of_texts(texts: list[str]) -> "Tensor":
            lengths = torch.tensor([float(len(text)) for text in texts])[:, None]
            return torch.cat([lengths, torch.ones(len(texts), WIDTH - 1)], dim=1)

        return ScoreModule(prepare, of_images, of_texts)


@component
class Passing(Generator):
    """Returns each source as the generated image."""

    reads_source: ClassVar[bool] = True

    def load(self, runtime: Runtime) -> "PassingModule":
        """Return a module without weights."""
        return PassingModule(self, runtime)

    def group(self, prompt: Prompt) -> Hashable:
        """Return the noise rate."""
        return prompt.noise_rate


class PassingModule(ImageModule):
    """The same, loaded."""

    def rows(self, batch: Batch) -> list[ImageResult]:
        """Return the sources."""
        return [
            ImageResult(row.image_id, batch.sources[row.source_sha256], 0, 0.0)
            for row in batch.prompts
        ]
