"""diffusers' own pipelines, called as they are: the base of `images=auto` and `images=edit`.

What the engine adds to a model that has a family is not there: weighted prompts, a guidance
interval, originals that are encoded once. Each image still has its own seed and guidance scale.
"""

import inspect
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from sip.core.component import component, known_by
from sip.core.errors import UserError, ValueRefusedError
from sip.core.progress import say
from sip.core.ranges import Count, Dtype
from sip.images.base import Generator
from sip.images.folder import PipelineFolder
from sip.images.lengths import TextReader, cut_prompts, require_labels, stock_readers
from sip.prompts.base import Prompt, Span
from sip.weights.layout import CHECKER
from sip.weights.loaded import LoadedWeights
from sip.weights.memory import Memory, memory_of
from sip.weights.missing import MissingWeightsError
from sip.weights.source import require, weights_folder, weights_recipe

PATCH = 16  # px, of an autoencoder's 8 and a transformer's 2; the pipelines check the size


@component
class StockPipeline(Generator):
    """A pipeline of diffusers in the place of the engine.

    Args:
        model: Folder or hub name of a pipeline, safetensors.
        revision: Revision of the hub model; None for folders.
        variant: Variant of the weight files, such as "fp16"; None for the plain ones.
        license: Licence of the weights, by the name that the hub uses; for the data card.
        dtype: "float32", "bfloat16" or "float16", of all models.
        num_steps: Number of steps of the full schedule; the scheduler is the model's own.
        guidance_argument: What the pipeline calls the guidance scale.
    """

    reads_source: ClassVar[bool] = True

    model: str = known_by("weights")
    revision: str | None = known_by("weights")
    variant: str | None = known_by("weights")
    license: str | None
    dtype: Dtype
    num_steps: Count
    guidance_argument: Literal["guidance_scale", "true_cfg_scale"]

    @staticmethod
    @abstractmethod
    def pipeline_class(folder: PipelineFolder) -> type:
        """Return the class of diffusers that generates with a model.

        Raises:
            UserError: There is none.
        """

    @abstractmethod
    def arguments(self, rows: Sequence[Prompt]) -> dict[str, Any]:
        """Return the arguments of one call for rows of one group, but for images and seeds."""

    def require(self) -> None:
        """Make sure, without loading, that the weights are on this disk and of a fitting class.

        Raises:
            UserError: They are not; says what is missing and how to get it.
        """
        require(
            self.model, self.revision, self.variant, CHECKER, check=self._fits, kind="diffusers"
        )

    def _fits(self, path: Path) -> None:
        self.require_step()
        folder = PipelineFolder(path)
        called = inspect.signature(self.pipeline_class(folder).__call__).parameters
        if self.guidance_argument not in called:
            known = [name for name in ("guidance_scale", "true_cfg_scale") if name in called]
            raise UserError(
                f"images.guidance_argument: must be one that {folder.pipeline} takes, got "
                f"{self.guidance_argument!r}; set {' or '.join(known) or 'another model'}"
            )

    @cached_property
    def folder(self) -> PipelineFolder:
        """The model folder."""
        return PipelineFolder(weights_folder(self.model, self.revision, self.variant, CHECKER))

    def memory(self) -> Memory:
        """Return what the weights need of the device's memory."""
        return memory_of(self.model, self.revision, self.dtype, self.variant, CHECKER)

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads."""
        return LoadedWeights.of(self.model, self.revision, self.variant, CHECKER)

    @property
    def weights(self) -> dict[str, Any]:
        """What the recipe knows the model by."""
        return weights_recipe(self.model, self.revision, self.variant)

    @property
    def side_units(self) -> tuple[int, int]:
        """What sides are best multiples of, and what they must be multiples of, in px."""
        return PATCH, PATCH

    def text(self, prompt: Prompt) -> str:
        """Return what the pipeline is told of an image."""
        return prompt.text

    @cached_property
    def _readers(self) -> list[TextReader]:
        return stock_readers(self.folder, self.pipeline_class(self.folder))

    def foresee(self, prompts: Sequence[Prompt]) -> None:
        """Check, before captions are made, that class names and negative prompts are read.

        Raises:
            UserError: No text encoder reads one, or the pipeline takes no negative prompt.
        """
        with suppress(MissingWeightsError):  # without the model nothing is known
            self._require_negative(prompts)
            require_labels(self._readers, [self._told(prompt) for prompt in prompts])

    def _require_negative(self, prompts: Sequence[Prompt]) -> None:
        kind = self.pipeline_class(self.folder)
        if takes(kind, "negative_prompt"):
            return
        for text in filter(None, (prompt.negative_prompt for prompt in prompts)):
            raise ValueRefusedError(
                "prompts.negative_prompt", f"empty for {kind.__name__}, which takes none", text
            )

    def _told(self, prompt: Prompt) -> Prompt:
        return replace(prompt, spans=(Span(self.text(prompt), 1.0),))

    def examine(self, prompts: Sequence[Prompt]) -> None:
        """Check the class names, and say what of the prompts is cut or not used.

        Raises:
            UserError: A class name is cut.
        """
        super().examine(prompts)
        self.foresee(prompts)
        with suppress(MissingWeightsError):
            for line in cut_prompts(self._readers, [self._told(prompt) for prompt in prompts]):
                say("prompts", line)
        if any(span.weight != 1 for prompt in prompts for span in prompt.spans):
            say("images", "prompt weights are not used: this pipeline reads plain text")


def is_pipeline(name: str) -> bool:
    """Return whether diffusers has a pipeline of this name."""
    import diffusers

    kind = getattr(diffusers, name, None)
    return isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)


def takes(kind: type, name: str) -> bool:
    """Return whether a pipeline is called with an argument of this name."""
    return name in inspect.signature(kind.__call__).parameters
