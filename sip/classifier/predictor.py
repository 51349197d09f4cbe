"""Apply trained classifiers to image files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sip.backbone.saved import SavedClassifier
from sip.classifier.loading import decode
from sip.core.errors import UserError
from sip.core.threads import prefetch
from sip.device.batch_size import Halving
from sip.device.precision import full_float32
from sip.store.fill import cut

BATCH_SIZE = 64
AHEAD = 2  # batches that are read and wait


class Predictor:
    """A trained classifier on a device.

    Args:
        saved: The stored classifier, with the transform of its input.
        device: Device, as torch names it.
    """

    def __init__(self, saved: SavedClassifier, device: str) -> None:
        self.network = saved.network().to(device)
        self.class_names, self.size, self.device = saved.class_names, saved.input_size, device
        mean, std = saved.normalisation
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)
        self.fitting = Halving("classifier", "device=cpu")

    @torch.inference_mode()
    def logits(self, images: np.ndarray) -> Tensor:
        """Return (N, classes), float32, on the CPU, of images (N, 3, size, size), uint8."""

        def work(part: slice) -> Tensor:
            pixels = (torch.from_numpy(images[part]).float() / 255 - self.mean) / self.std
            with full_float32():
                return self.network(pixels.to(self.device)).float().cpu()

        return torch.stack(self.fitting(work, len(images)))

    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, of image files.

        Raises:
            UserError: One cannot be read.
        """
        seen = list(batches([self], paths))
        for batch in seen:
            batch.require_all()
        return torch.cat([batch.logits[0].softmax(1) for batch in seen]).numpy()


@dataclass(frozen=True)
class Classified:
    """Logits of a batch of image files.

    Attributes:
        paths: Files that could be read.
        logits: Logits of each classifier, (len(paths), classes), float32.
        broken: Path -> why it could not be read.
    """

    paths: list[str]
    logits: list[Tensor]
    broken: dict[str, str]

    def require_all(self) -> None:
        """Check that all could be read.

        Raises:
            UserError: One could not; says why.
        """
        for reason in self.broken.values():
            raise UserError(reason)


def batches(
    predictors: Sequence[Predictor],
    paths: Sequence[str],
    batch_size: int = BATCH_SIZE,
    num_workers: int = 2,
) -> Iterator[Classified]:
    """Yield the logits of image files, in order, while the next batches are read.

    Args:
        batch_size: Images at a time; halved if they do not fit into the device's memory.
        num_workers: Threads that read images.
    """
    sizes = {predictor.size for predictor in predictors}

    def read(batch: Sequence[str]) -> tuple[list[str], list[dict[int, np.ndarray]], dict[str, str]]:
        readable, images, broken = [], [], {}
        for path in batch:
            try:
                images.append({size: decode(path, size) for size in sizes})
                readable.append(path)
            except UserError as error:
                broken[path] = str(error)
        return readable, images, broken

    with prefetch(iter(cut(paths, batch_size)), read, num_workers, AHEAD) as ready:
        for _, (readable, images, broken) in ready:
            logits = [
                predictor.logits(np.stack([image[predictor.size] for image in images]))
                for predictor in predictors
                if images
            ]
            yield Classified(readable, logits, broken)
