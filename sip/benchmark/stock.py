"""The usual way: diffusers' pipeline, called image by image, saved with Pillow's defaults.

This is what published implementations do: eager, one image at a time, its text encoded each time.
"""

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch

from sip.core.image_io import read_rgb
from sip.core.shapes import Size
from sip.images.engine import Engine
from sip.images.loading import load_pipeline, quiet
from sip.prompts.base import Prompt


class StockLoop:
    """A loop over diffusers' image-to-image pipeline of the model's family.

    Args:
        engine: Loaded; gives model, dtype, device, scheduler and number of steps. The pipeline has
            weights of its own, so that it stays as it is loaded.
    """

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings
        loaded = load_pipeline(settings)
        pipeline_class = getattr(diffusers, settings.family.pipelines[1])
        with quiet():  # the loaded parts, and the settings of the folder
            self.pipeline = pipeline_class.from_pretrained(
                settings.folder.path, **loaded.components, dtype=loaded.dtype
            )
        self.pipeline.scheduler = copy.deepcopy(settings.schedule(settings.size).stock)
        self.pipeline.to(engine.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.num_steps = settings.num_steps
        self.settings = settings
        self.guidance_argument = settings.family.guidance_argument
        called = inspect.signature(self.pipeline.__call__).parameters
        self.takes_size = "height" in called  # and else generates at 1024 px

    def run(self, prompts: Sequence[Prompt], folder: Path) -> None:
        """Generate the images of the prompts into a folder, which is created if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for prompt in prompts:
            size = self.settings.size_of(prompt)
            width, height = Size.of(size)
            image = self.pipeline(
                prompt=prompt.text,
                negative_prompt=prompt.negative_prompt,
                image=read_rgb(prompt.source, size),
                strength=prompt.noise_rate,
                **{self.guidance_argument: prompt.guidance_scale},
                **({"height": height, "width": width} if self.takes_size else {}),
                num_inference_steps=self.num_steps,
                generator=torch.Generator("cpu").manual_seed(prompt.seed),
            ).images[0]
            image.save(folder / f"{prompt.image_id}.png")
