"""An arm's control as a judge: a trained classifier of the originals only.

The control of an arm is the run `augmentation=none` with all else the same.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.none import NoGenerated
from sip.augmentation.sample.none import AsIs
from sip.backbone.base import Backbone
from sip.classifier import checkpoint as checkpoints
from sip.classifier.loading import decode
from sip.device.settings import Runtime
from sip.store.fill import cut

PLAIN = Augmentation(NoGenerated(), AsIs(), NoMix())
BATCH = 64  # images


class Control:
    """A trained classifier.

    Args:
        checkpoint: File of its weights.
        backbone: Of this network.
        num_classes: Of its head.
        runtime: Device, and threads that read images.
    """

    def __init__(
        self, checkpoint: Path, backbone: Backbone, num_classes: int, runtime: Runtime
    ) -> None:
        self.network = backbone.create(num_classes)
        self.network.load_state_dict(checkpoints.load(checkpoint))
        self.network.to(runtime.device).eval()
        self.size = backbone.input_size
        mean, std = backbone.normalisation
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)
        self.runtime = runtime

    @torch.inference_mode()
    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, of images."""
        return np.concatenate(list(self._batches(paths)))

    def _batches(self, paths: Sequence[str]) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(self.runtime.num_workers) as threads:
            for batch in cut(paths, BATCH):
                found = threads.map(lambda path: decode(path, self.size), batch)
                pixels = torch.from_numpy(np.stack(list(found)))
                seen = (pixels.float() / 255 - self.mean) / self.std
                logits = self.network(seen.to(self.runtime.device)).float()
                yield logits.softmax(1).cpu().numpy()
