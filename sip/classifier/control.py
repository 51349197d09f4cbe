"""An arm's control as a judge: a classifier of the originals alone, found or trained once.

The control of an arm is the run `augmentation=none` with all else the same. Where that run was
done, its checkpoint is used; else it is trained and kept in the store, by the same fingerprint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sip.augmentation.base import Augmentation
from sip.augmentation.mix.none import NoMix
from sip.augmentation.offline.none import NoDrawn
from sip.augmentation.sample.none import AsIs
from sip.backbone.base import Backbone
from sip.classifier import checkpoint as checkpoints
from sip.classifier.loading import decode
from sip.core.hashing import digest
from sip.device.settings import Runtime
from sip.pipeline.makers import Stages
from sip.store.fill import cut

PLAIN = Augmentation(NoDrawn(), AsIs(), NoMix())
BATCH = 64  # pictures


class Control:
    """A trained classifier.

    Args:
        checkpoint: Its weights.
        backbone: What they are of.
        num_classes: Of its head.
        runtime: Device, and threads that read pictures.
    """

    def __init__(
        self, checkpoint: Path, backbone: Backbone, num_classes: int, runtime: Runtime
    ) -> None:
        self.network = backbone.create(num_classes)
        self.network.load_state_dict(checkpoints.load(checkpoint))
        self.network.to(runtime.device).eval()
        self.size = backbone.input_size
        self.mean = torch.tensor(backbone.mean).view(3, 1, 1)
        self.std = torch.tensor(backbone.std).view(3, 1, 1)
        self.runtime = runtime

    @torch.inference_mode()
    def __call__(self, paths: Sequence[str]) -> np.ndarray:
        """Return the probabilities, (N, classes), float32, of pictures."""
        return np.concatenate(list(self._batches(paths)))

    def _batches(self, paths: Sequence[str]) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(self.runtime.num_workers) as threads:
            for batch in cut(paths, BATCH):
                found = threads.map(lambda path: decode(path, self.size), batch)
                pixels = torch.from_numpy(np.stack(list(found)))
                seen = (pixels.float() / 255 - self.mean) / self.std
                logits = self.network(seen.to(self.runtime.device)).float()
                yield logits.softmax(1).cpu().numpy()


def recipe_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of the control of a run with this recipe."""
    return {**run, "augmentation": PLAIN.recipe(), "offline": None}


def checkpoint_of(
    run: Mapping[str, Any],
    runs: Path,
    store: Path,
    train: Callable[[Path], object],
    stages: Stages,
) -> Path:
    """Return the weights of a run's control, which is trained if it is nowhere.

    Args:
        run: The recipe of the run.
        runs: Folder of the runs.
        store: Folder of the store.
        train: Trains with `PLAIN` and leaves the checkpoint in a folder.
    """
    fingerprint = digest(recipe_of(run))[:10]
    folder = store / "controls" / fingerprint
    with stages.stage("control") as row:
        finished = runs.glob(f"*-{fingerprint}/summary.json")  # written last
        places = [*(summary.parent for summary in finished), folder]
        for place in places:
            if (place / checkpoints.NAME).is_file():
                row["found"] = 1
                return place / checkpoints.NAME
        train(folder)
        row["made"] = 1
    return folder / checkpoints.NAME
