"""What an engine knows before its weights are loaded: what it will do, and what that costs.

It reads the model folder's small configuration files and nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pytorch_lightning import LightningModule

from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images import checks
from sip.images.acceleration import Shapes
from sip.images.families import Family, family_of
from sip.images.families.layout import Layout
from sip.images.lora import Lora
from sip.images.safety import SafetyChecker
from sip.images.schedulers import Schedule, require_scheduler
from sip.prompts.base import Prompt
from sip.prompts.weighting.base import Weighting
from sip.weights.pretrained import check_dtype
from sip.weights.source import require, weights_folder, weights_recipe


class Settings(LightningModule, ABC):
    """The settings of an engine, and what follows from them and the model's folder.

    Args:
        model: Folder or hub name of a pipeline of a known class, safetensors.
        revision: Of the hub model; None for folders.
        variant: Of the weight files, such as "fp16"; None for the plain ones.
        lora: None, or `model`, `revision`, `weight_name` and `scale` of an adapter.
        dtype: "float32", "bfloat16" or "float16", of all models.
        scheduler: Name in `sip.images.schedulers`.
        num_steps: Of the full schedule.
        size: Height and width of the pictures, in px.
        guidance_interval: Part of the trajectory that is guided, [low, high]; 1 is pure noise.
        vae_tiling: Decode large pictures in tiles; less memory, other pixels.
        safety_checker: Whether pictures that the model's checker flags fail.
        weighting: Turns weighted spans into text embeddings.
        per_sample: Pictures drawn from each original.
        max_failed: Share of the pictures that may fail before the run counts as failed.
        format: "png", "jpeg" or "webp".
        storage: "files" or "webdataset".
    """

    def __init__(
        self,
        model: str,
        revision: str | None,
        variant: str | None,
        lora: Mapping[str, Any] | None,
        dtype: str,
        scheduler: str,
        num_steps: int,
        size: int,
        guidance_interval: Sequence[float],
        vae_tiling: bool,
        safety_checker: bool,
        weighting: Weighting,
        per_sample: int,
        max_failed: float,
        format: str,
        storage: str,
    ) -> None:
        super().__init__()
        require_scheduler(scheduler)
        check_dtype("images.dtype", dtype)
        self.model = model
        self.revision = revision
        self.variant = variant
        self.lora = Lora(lora) if lora else None
        self.weights_dtype = dtype  # `dtype` is Lightning's
        self.scheduler_name = scheduler
        self.num_steps = checks.at_least_one("num_steps", num_steps)
        self.size = checks.at_least_one("size", size)
        self.guidance_interval = checks.interval("guidance_interval", guidance_interval)
        self.vae_tiling = bool(vae_tiling)
        self.safety_checker = bool(safety_checker)
        self.weighting = weighting
        self.per_sample = checks.at_least_one("per_sample", per_sample)
        self.max_failed = checks.share("max_failed", max_failed)
        self.format = checks.file_format(format)
        self.storage = checks.one_of("storage", storage, checks.STORAGES)
        self.family: Family | None = None  # this and the next are the engine's, from `load` on
        self.checker: SafetyChecker | None = None
        self.runtime: Runtime | None = None
        self.shapes = Shapes()
        self._guided: dict[tuple[int, bool], list[bool]] = {}

    def recipe(self) -> dict:
        """Return everything but the prompt that decides the file."""
        return {
            "class": f"{type(self).__module__}.{type(self).__qualname__}",
            "version": 2,
            "weights": weights_recipe(self.model, self.revision, self.variant),
            "lora": self.lora.identity() if self.lora else None,
            "dtype": self.weights_dtype,
            "scheduler": self.scheduler_name,
            "num_steps": self.num_steps,
            "size": self.size,
            "guidance_interval": list(self.guidance_interval),
            "vae_tiling": self.vae_tiling,
            "safety_checker": self.safety_checker,
            "weighting": self.weighting.recipe(),
            "format": self.format,
        }

    def require(self) -> None:
        """Check, without loading, that the weights are on this disk and can do what is asked for.

        Raises:
            UserError: They are not, or cannot; says what is missing and how to get it.
        """
        require(self.model, self.revision, self.variant, self._without)
        if self.lora:
            self.lora.require()
        self._require_fit()

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check the drawing list; and the model folder, if it is there: else `require` says so.

        Raises:
            UserError: A prompt cannot be drawn with these settings.
        """
        if self.has_layout:
            self._require_fit()
        for prompt in prompts:
            self.first_step(prompt)

    def _require_fit(self) -> None:
        if self.safety_checker and not self.layout.has("safety_checker"):
            raise UserError(
                f"images.safety_checker: {self.layout.folder} ({self.layout.pipeline}) has none; "
                "use images.safety_checker=false"
            )
        unit = self.family_class.size_unit(self.layout)
        if self.size % unit:
            raise UserError(
                f"images.size: expected a multiple of {unit} px for this model, came {self.size}"
            )
        _ = self.schedule

    @property
    def _without(self) -> tuple[str, ...]:
        return () if self.safety_checker else ("safety_checker", "feature_extractor")

    @property
    def has_layout(self) -> bool:
        """Whether the model folder is on this disk."""
        try:
            return bool(self.layout)
        except UserError:
            return False

    @cached_property
    def layout(self) -> Layout:
        """What the model folder says about itself."""
        return Layout(weights_folder(self.model, self.revision, self.variant, self._without))

    @cached_property
    def family_class(self) -> type[Family]:
        """What kind of model it is."""
        return family_of(self.layout)

    @cached_property
    def schedule(self) -> Schedule:
        """All steps, from pure noise on."""
        return self.family_class.schedule(
            self.layout, self.scheduler_name, self.num_steps, self.size
        )

    @cached_property
    def runs_unconditional(self) -> bool:
        """Whether guidance is made of two halves; some denoisers read the scale instead."""
        return not self.family_class.embeds_guidance(self.layout)

    @abstractmethod
    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first scheduler step that this picture runs."""

    def guided_steps(self, prompt: Prompt) -> list[bool]:
        """Return for each step that is run whether it runs the unconditional half too."""
        # As diffusers decides it: scales of 1 and below change nothing.
        key = self.first_step(prompt), prompt.guidance_scale > 1
        if key not in self._guided:
            low, high = self.guidance_interval
            is_guided = key[1] and self.runs_unconditional
            parts = self.schedule.parts[key[0] :]
            self._guided[key] = [is_guided and low <= part <= high for part in parts]
        return self._guided[key]

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return what this picture costs, in forward passes of the denoiser."""
        guided = self.guided_steps(prompt)
        return len(guided) + sum(guided)

    def group(self, prompt: Prompt) -> tuple[int, bool]:
        """Return what rows share that run the same calls: first step, whether any is guided."""
        return self.first_step(prompt), any(self.guided_steps(prompt))
