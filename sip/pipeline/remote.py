"""The stages of generation in another process, on another machine perhaps."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sip.device.settings import Devices, Runtime, set_threads
from sip.executor.remote import Rows
from sip.images.base import ImageResult
from sip.pipeline.components import Components, StageName
from sip.pipeline.makers import read_prompts, stored_row
from sip.pipeline.models import Models
from sip.prompts.base import Prompt

NODES = ("captions", "scores", "prompts", "images", "filter", "runtime")


@dataclass(frozen=True)
class RemoteStage:
    """Makes the rows of a stage with the same model and the same code as `Models.maker`.

    Attributes:
        stage: Name of the stage.
        config: The nodes of the configuration that it needs, resolved.
        num_full: Rows of a full batch of images.
    """

    stage: StageName
    config: Mapping[str, Any]
    num_full: int

    @classmethod
    def of(cls, stage: StageName, config: DictConfig, num_full: int) -> "RemoteStage":
        """Return the stage of a whole configuration."""
        plain = {name: OmegaConf.to_container(config[name], resolve=True) for name in NODES}
        return cls(stage, plain, num_full)

    @property
    def uses_gpu(self) -> bool:
        """Whether the configuration names a GPU."""
        return str(self.config["runtime"]["device"]).startswith("cuda")

    def __call__(self) -> Callable[[list[Any]], Rows]:
        """Load the model; return what makes the rows of a batch.

        Raises:
            UserError: This machine lacks the device, or weights.
        """
        import torch

        config = OmegaConf.create(dict(self.config))
        runtime = Runtime.of(config.runtime)
        set_threads(runtime)
        models = Models(Components(config), runtime, Devices())
        module = models.module(self.stage).eval()
        read, finish = self._steps(models)
        device = threading.Lock()

        def make(inputs: list[Any]) -> Rows:
            batch = read(inputs)
            with device, torch.inference_mode():
                on_device = module.transfer_batch_to_device(batch, module.device, 0)
                rows = module.predict_step(on_device)
            return [finish(inputs, row) for row in rows]

        return make

    def _steps(self, models: Models) -> tuple[Callable[[list[Any]], Any], Callable[..., Any]]:
        """Return what reads a batch, and what makes a row of the store of a result."""
        if self.stage != "images":
            return models.image_reader(self.stage), lambda inputs, row: row.to_dict()
        generator = models.components.generator

        def read(prompts: list[Prompt]) -> Any:
            sources = frozenset(prompt.source_sha256 for prompt in prompts)
            return read_prompts(generator, prompts, sources, self.num_full)

        def finish(prompts: list[Prompt], image: ImageResult) -> dict[str, Any]:
            (prompt,) = [each for each in prompts if each.image_id == image.image_id]
            return stored_row(image, prompt, generator.format)

        return read, finish
