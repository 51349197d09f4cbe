"""A trained classifier at work: image files in, probabilities out."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from sip.backbone.saved import SavedClassifier
from sip.classifier.loading import decode
from sip.store.fill import cut

BATCH = 64  # images


class Predictor:
    """A trained classifier on a device.

    Args:
        saved: What a run stored; it also says how images become its input.
        device: Of torch.
        num_workers: Threads that read images.
    """

    def __init__(self, saved: SavedClassifier, device: str, num_workers: int = 2) -> None:
        self.network = saved.network().to(device)
        self.class_names, self.size = saved.class_names, saved.input_size
        mean, std = saved.normalisation
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)
        self.device, self.num_workers = device, num_workers

    @torch.inference_mode()
    def logits(self, images: np.ndarray) -> torch.Tensor:
        """Return (N, classes), float32, on the CPU, of images (N, 3, size, size), uint8."""
        pixels = (torch.from_numpy(images).float() / 255 - self.mean) / self.std
        return self.network(pixels.to(self.device)).float().cpu()

    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, of image files.

        Raises:
            UserError: One cannot be read.
        """
        return np.concatenate(list(self._batches(paths)))

    def _batches(self, paths: Sequence[str]) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(self.num_workers) as threads:
            for batch in cut(paths, BATCH):
                images = list(threads.map(lambda path: decode(path, self.size), batch))
                yield self.logits(np.stack(images)).softmax(1).numpy()
