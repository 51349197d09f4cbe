"""Images of fixed prompts and seeds while a generator is adapted, and the sheet of all of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from sip.adapt.data import Learnt
from sip.adapt.method import Method
from sip.adapt.model import LoadedModel
from sip.core.files import write_atomically
from sip.core.image_io import encode, read_rgb, to_tensor
from sip.core.spread import spread
from sip.images.naming import encoded_as
from sip.images.quiet import quiet
from sip.stack.samples import save_sheet

FOLDER = "validation"  # of the run folder
STEP = re.compile(r"step-(\d+)\.png")


class Validation(Callback):
    """Generates one image of each of some classes, every few steps, with diffusers' own pipeline.

    Args:
        model: What is trained.
        rows: What it learns; one row of each class is shown.
        method: How many, and how often.
        names: Class name -> what the text encoder reads in its place.
        size: Side of the images, in px.
        folder: The run folder.
    """

    def __init__(
        self,
        model: LoadedModel,
        rows: Sequence[Learnt],
        method: Method,
        names: dict[str, str],
        size: int,
        folder: Path,
    ) -> None:
        self.pipeline, self.decode = model.pipeline, model.family.decode
        self.method, self.size = method, size
        of_class = {row.class_name: row for row in reversed(rows) if not row.is_prior}
        self.rows = spread([of_class[name] for name in sorted(of_class)], method.num_validation)
        self.prompts = ["".join(span.text for span in row.texts[0]) for row in self.rows]
        self.read = [
            "".join(span.text for span in encoded_as(row.texts[0], row.class_name, names))
            for row in self.rows
        ]
        self.folder = folder / FOLDER
        self._last = -1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Generate with the model as it is before, once."""
        self._last = trainer.global_step
        if trainer.global_step == 0:
            self._generate(0)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Generate when it is due, and after the last step."""
        step, every = trainer.global_step, self.method.validate_every
        if step == self._last:
            return
        self._last = step
        if (every is not None and step % every == 0) or step == trainer.max_steps:
            self._generate(step)

    def _generate(self, step: int) -> None:
        with quiet(), torch.no_grad():
            self.pipeline.set_progress_bar_config(disable=True)
            strips = [self._image(number) for number in range(len(self.rows))]
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"step-{step:06d}.png"
        write_atomically(file, encode(torch.cat(strips, dim=2), "png"))

    def _image(self, number: int) -> Tensor:
        """Return (3, S, S), in [0, 1], on the CPU: by itself, since seeds are those of an image."""
        latents = self.pipeline(
            self.read[number],
            guidance_scale=self.method.validation_guidance,
            num_inference_steps=self.method.validation_steps,
            height=self.size,
            width=self.size,
            generator=torch.Generator().manual_seed(number),
            output_type="latent",
        ).images
        return self.decode(latents)[0].cpu()  # the pipeline's own fails if only this is float32

    def sheet(self, path: Path) -> None:
        """Write the sheet: a column a class, originals first, then the images step by step."""
        originals = [to_tensor([read_rgb(row.path, self.size)])[0] * 2 - 1 for row in self.rows]
        rows, labels = [originals], ["original"]
        for file in sorted(self.folder.glob("step-*.png")):
            match = STEP.fullmatch(file.name)
            with Image.open(file) as strip:
                pixels = torch.from_numpy(np.array(strip)).permute(2, 0, 1).float() / 127.5 - 1
            parts = list(pixels.split(self.size, dim=2))
            if match and len(parts) == len(self.rows):
                rows.append(parts)
                labels.append(f"step {int(match[1])}")
        save_sheet(rows, path, self.prompts, labels=labels)
