"""The settings of the diffusion engine, and what follows from them before weights are loaded.

Only the small configuration files of the model folder are read here; torch and diffusers are
imported when the noise schedule is asked for, not when the component is built.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import Field

from sip.core.component import Part, added, component, ignored, known_by, refuse
from sip.core.errors import UserError, ValueRefusedError
from sip.core.hashing import digest
from sip.core.progress import say
from sip.core.ranges import Count, Dtype, Share
from sip.core.shapes import Size
from sip.core.spill import Spilled
from sip.core.text import counted
from sip.dataset.base import Sample
from sip.images.autoencoder import Autoencoder
from sip.images.base import Generator
from sip.images.folder import PipelineFolder, spaced
from sip.images.lengths import TextReader, cut_prompts, require_labels, text_readers
from sip.images.lora import Lora
from sip.images.naming import encoded_as
from sip.images.quantization import Quantization, require_torchao
from sip.images.schedulers import SchedulerName, Spacing
from sip.prompts.base import Prompt, span_pairs
from sip.prompts.weighting.base import Weighting
from sip.weights.layout import CHECKER
from sip.weights.loaded import LoadedWeights
from sip.weights.memory import Memory, memory_of
from sip.weights.missing import MissingWeightsError
from sip.weights.source import require, resolve, weights_folder, weights_recipe

if TYPE_CHECKING:
    from torch import Tensor

    from sip.images.families.base import Family
    from sip.images.samplers import Sampler
    from sip.images.schedulers import NoiseSchedule

T = TypeVar("T")
Originals = Callable[["Tensor"], "Tensor"]
Interval = Annotated[tuple[Share, Share], Field(strict=False)]  # YAML knows lists only

ASSUMED_UNITS = 64, 8  # of a model that is not on this disk: those of Stable Diffusion 1.5
LORA_FORM = "{model: FOLDER, revision: null, weight_name: NAME.safetensors, scale: 1.0}"
LoraValues = Annotated[
    str | dict[str, Any],
    Field(description=f"the folder of a run of sip.adapt, or a mapping such as '{LORA_FORM}',"),
]


@component
class DiffusionSettings(Generator):
    """What image to image and text to image share.

    Args:
        model: Folder or hub name of a pipeline of a known class, safetensors.
        revision: Revision of the hub model; None for folders.
        variant: Variant of the weight files, such as "fp16"; None for the plain ones.
        lora: None, the folder of a run of `sip.adapt`, or `model`, `revision`, `weight_name` and
            `scale` of an adapter.
        dtype: "float32", "bfloat16" or "float16", of all models.
        scheduler: Name in `sip.images.schedulers`.
        num_steps: Number of steps of the full schedule.
        guidance_interval: Part of the trajectory that is guided, [low, high]; 1 is pure noise.
        vae_tiling: Decode large images in tiles; less memory, other pixels.
        safety_checker: Whether images that the model's checker flags fail.
        weighting: Turns weighted spans into text embeddings.
        license: Licence of the weights, by the name that the hub uses; for the data card.
        timestep_spacing: "leading", "linspace" or "trailing", of the steps; None: the model's own.
        vae: Folder or hub name of another autoencoder, or a mapping of `model` and `revision`; None
            for the model's own.
        needs_lora: Whether the arm rests on an adapter, and is refused without.
        lora_methods: Methods of `sip.adapt` whose adapters an arm that needs one takes; None: all.
        adaptable: Whether `sip.adapt` can adapt the model, as far as the preset knows.
        quantization: "int8" or "fp8", of the weights of linear layers; None for `dtype`.
    """

    version: ClassVar[int] = 3
    gives_mask: ClassVar[bool] = False  # to denoisers that read one

    model: str = known_by("weights")
    revision: str | None = known_by("weights")
    variant: str | None = known_by("weights")
    lora: LoraValues | None = known_by("adapter")
    dtype: Dtype
    scheduler: SchedulerName
    num_steps: Count
    guidance_interval: Interval
    vae_tiling: bool
    safety_checker: bool
    weighting: Part[Weighting]
    license: str | None = added(neutral=None)
    timestep_spacing: Spacing | None = added(neutral=None)
    vae: str | dict[str, Any] | None = known_by("autoencoder", neutral=None)
    quantization: Quantization | None = added(neutral=None)
    needs_lora: bool = ignored(neutral=False)
    lora_methods: list[str] | None = ignored(neutral=None)
    adaptable: bool = ignored(neutral=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.guidance_interval
        if low > high:
            rule = "[low, high] with low <= high"
            raise refuse("guidance_interval", rule, list(self.guidance_interval))
        _ = self.adapter, self.autoencoder  # refuses wrong values

    @property
    @abstractmethod
    def num_noises(self) -> int:
        """Noises of an image before its first step."""

    def noises_before(self, first: int) -> int:
        """Return the number of noises of an image before its step `first`, its first one."""
        return self.num_noises

    @abstractmethod
    def first_step(self, prompt: Prompt) -> int:
        """Return the index of the first scheduler step that this image runs.

        Raises:
            UserError: There is none.
        """

    @abstractmethod
    def start(self, originals: Originals, noise: "Tensor", sampler: "Sampler") -> "Tensor":
        """Return the latents (B, C, h, w), float32, that enter the first step.

        Args:
            originals: Noise (B, C, h, w) to samples of the latents of the rows' originals.
            noise: (num_noises, B, C, h, w), float32, standard normal.
            sampler: At its first step.
        """

    def finish(
        self, rows: Sequence[Prompt], sources: Mapping[str, "Tensor"], pixels: "Tensor"
    ) -> "Tensor":
        """Return the images that are stored, made of generated ones (B, 3, H, W).

        Args:
            rows: Their prompts.
            sources: As in `Batch`.
            pixels: In [0, 1], or not finite in a row that fails.
        """
        return pixels

    def require(self) -> None:
        """Make sure, without loading, that the weights are on this disk and fit the settings.

        Raises:
            UserError: They are not, or do not; says what is missing and how to get it.
        """
        self.__dict__.pop("is_on_disk", None)
        self.preview()
        if self.quantization:
            require_torchao()
        require(
            self.model,
            self.revision,
            self.variant,
            self._without,
            check=_family,
            kind="diffusers",
        )
        if self.adapter:
            try:
                self.adapter.require()
            except MissingWeightsError as error:
                raise MissingWeightsError.joined({"images.lora": error}) from None
        if self.autoencoder:
            self.autoencoder.require(self.folder)
        self._require_fit()

    def preview(self) -> None:
        """Refuse an adapter that is not there, of another model, or of no use to the arm.

        Raises:
            UserError: It is one, or the arm needs one and has none.
        """
        methods = self.lora_methods or []
        make = " ".join(["make one by python -m sip.adapt", *(f"method={m}" for m in methods[:1])])
        if self.adapter is None:
            if self.needs_lora:
                rule, fix = "an adapter of your classes for this arm", "set images.lora to its run"
                raise refuse("images.lora", rule, None, f"{make}, and {fix} folder")
            return
        if isinstance(self.lora, str):
            self._require_run(self.lora, self.adapter.weight_name, make)
        if self.needs_lora and methods and self.adapter.method not in methods:
            raise UserError(
                f"images.lora: must be an adapter of method={' or '.join(methods)} for this arm, "
                f"got {self.adapter.model} of method={self.adapter.method}; {make}"
            )
        self.adapter.require_base(self.weights, self.model, self.memory().parameters)

    def _require_run(self, lora: str, file: str, make: str) -> None:
        """Refuse what is no folder with an adapter."""
        place = Path(resolve(lora))
        if place.is_file():
            fix = f"give the folder that it is in: images.lora={Path(lora).parent}"
            raise refuse("images.lora", "the folder of a run of sip.adapt", lora, fix)
        if not (place / file).is_file():
            rule = f"the folder of a run of sip.adapt, with {file}"
            raise refuse("images.lora", rule, lora, make)

    def completed(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> Sequence[Prompt]:
        """Return prompts with what is read of their originals, and with learnt words in their keys.

        Raises:
            UserError: As `companions_of`.
        """
        prompts = super().completed(prompts, samples)
        return Spilled(map(self._with_words, prompts)) if self.names else prompts

    def _with_words(self, prompt: Prompt) -> Prompt:
        """Return a prompt whose key has what is read of it, if that depends on its class."""
        read = encoded_as(prompt.spans, prompt.class_name, self.names)
        return (
            prompt if read == prompt.spans else replace(prompt, extra_key=digest(span_pairs(read)))
        )

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check the prompts, and the model folder if it is there; `require` says if it is not.

        Raises:
            UserError: An image cannot be generated from one of the prompts.
        """
        if self.is_on_disk:
            self._require_fit()
            self._require_weights(prompts)
        for prompt in prompts:
            self.first_step(prompt)

    def foresee(self, prompts: Sequence[Prompt]) -> None:
        """Check, before captions are made, the adapter and that class names are read in whole.

        Raises:
            UserError: The adapter is another model's, or no text encoder reads a class name.
        """
        if self.is_on_disk:
            _ = self._adapter_fits
            require_labels(self._readers, prompts)

    def examine(self, prompts: Sequence[Prompt]) -> None:
        """Check adapter and prompts with the model's own files, if they are there.

        Raises:
            UserError: The adapter is another model's, or a class name is cut.
        """
        super().examine(prompts)
        if not (self.is_on_disk and prompts):
            return
        self.foresee(prompts)
        for line in cut_prompts(self._readers, prompts):
            say("prompts", line)
        unread = (one for one in prompts if one.negative_prompt and not any(self.guided_steps(one)))
        if num := sum(1 for _ in unread):
            say(
                "images", f"the negative prompt of {counted(num, 'image')} is not read: no guidance"
            )

    def _require_weights(self, prompts: Sequence[Prompt]) -> None:
        """Refuse weighted texts if a weight has no meaning for the text encoder."""
        if self.family.weighs_texts:
            return
        for span in (span for prompt in prompts for span in prompt.spans):
            if span.weight != 1:
                raise UserError(
                    f"prompts: must have weights of 1 for a {self.folder.pipeline}, for whose text "
                    f"encoder no weighting is defined, got {span.weight:g} for {span.text[:40]!r}; "
                    "set prompts.label_weight=1 and prompts.caption_weight=1"
                )

    @cached_property
    def _adapter_fits(self) -> bool:
        """True, or an error; once, since it builds the networks without their weights."""
        if self.adapter:
            from sip.images.lora_fit import check_fit, check_words

            check = check_words if self.adapter.holds_words else check_fit
            check(self.adapter.file(), self.folder, self.family)
        return True

    @cached_property
    def _readers(self) -> list[TextReader]:
        return text_readers(self.folder, self.family)

    def _require_fit(self) -> None:
        if self.safety_checker and not self.folder.has("safety_checker"):
            rule = f"false for {self.folder.path} ({self.folder.pipeline}), which has none"
            raise refuse("images.safety_checker", rule, self.safety_checker)
        if self.family.reads_mask(self.folder) and not self.gives_mask:
            raise UserError(
                f"images: must be inpaint for {self.folder.path}, whose denoiser reads a mask, got "
                f"{type(self).__name__}; set images=inpaint, or another images.model"
            )
        if self.guidance_interval != (0, 1) and self.family.embeds_guidance(self.folder):
            rule = "[0, 1] for a model that reads the guidance scale, and is never guided"
            raise refuse("images.guidance_interval", rule, list(self.guidance_interval))
        self._require_sizes()
        schedule = self.schedule(self.size)  # refuses what the scheduler cannot do
        if self.timestep_spacing and not schedule.reads_spacing:
            rule = "null for scheduler lcm and for models with flow matching"
            raise refuse("images.timestep_spacing", rule, self.timestep_spacing)

    def _require_unet(self, choice: str) -> None:
        """Refuse what is no Stable Diffusion, for a choice that is made for its U-Nets."""
        from sip.images.families.sd import StableDiffusion

        if not issubclass(self.family, StableDiffusion):
            raise UserError(
                f"images.model: must be Stable Diffusion 1.x, 2.x or XL for images={choice}, got a "
                f"{self.folder.pipeline} in {self.folder.path}; set another model"
            )

    def _require_sizes(self) -> None:
        unit = self.family.size_unit(self.folder)
        if self.size % unit:
            raise refuse("images.size", f"a multiple of {unit} px for this model", self.size)
        self.require_step()
        longest = self.family.longest_side(self.folder)
        side = max(map(max, self.sizes)) if self.keeps_aspect else self.size
        if longest and side > longest:
            rule = f"one with sides of at most {longest} px for this model"
            fix = f"images.aspect={self.aspect} has sides of {side} px; set a smaller one"
            raise refuse("images.size", rule, self.size, fix)

    @property
    def side_units(self) -> tuple[int, int]:
        """What sides are best multiples of, and what they must be multiples of, in px."""
        if not self.is_on_disk:
            return ASSUMED_UNITS
        return self.family.best_unit(self.folder), self.family.size_unit(self.folder)

    def memory(self) -> Memory:
        """Return what the weights need of the device's memory, before they are quantized."""
        return memory_of(self.model, self.revision, self.dtype, self.variant, self._without)

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads; `adapter` knows its own."""
        return LoadedWeights.of(self.model, self.revision, self.variant, self._without)

    @property
    def weights(self) -> dict[str, Any]:
        """What the recipe knows the model by."""
        return weights_recipe(self.model, self.revision, self.variant)

    @cached_property
    def adapter(self) -> Lora | None:
        """The adapter that is fused into the weights."""
        if self.lora is None or isinstance(self.lora, str):
            return None if self.lora is None else Lora.of(self.lora)
        return built(Lora, "lora", self.lora)

    @property
    def names(self) -> Mapping[str, str]:
        """Class name -> what the text encoder reads in its place, as the adapter learnt it."""
        return {} if self.adapter is None else self.adapter.names

    @cached_property
    def autoencoder(self) -> Autoencoder | None:
        """The autoencoder in the place of the model's own."""
        if self.vae is None:
            return None
        given = {"model": self.vae, "revision": None} if isinstance(self.vae, str) else self.vae
        return built(Autoencoder, "vae", given)

    @property
    def samples_originals(self) -> bool:
        """Whether an original is encoded to a distribution, from which a noise chooses."""
        return self.autoencoder is None or not self.autoencoder.is_tiny

    @property
    def _without(self) -> tuple[str, ...]:
        return () if self.safety_checker else CHECKER

    @cached_property
    def is_on_disk(self) -> bool:
        """Whether the model folder is on this disk."""
        try:
            return bool(self.folder)
        except UserError:
            return False

    @cached_property
    def folder(self) -> PipelineFolder:
        """The model folder."""
        path = weights_folder(self.model, self.revision, self.variant, self._without)
        return PipelineFolder(path, self.timestep_spacing)

    @cached_property
    def family(self) -> "type[Family]":
        """The family of the model."""
        from sip.images.families import family_of

        return family_of(self.folder)

    def schedule(self, size: int | Size) -> "NoiseSchedule":
        """Return all steps of images of a size, from pure noise on."""
        kept = self._schedules
        if size not in kept:
            sides = Size.of(size)
            kept[size] = self.family.schedule(self.folder, self.scheduler, self.num_steps, sides)
        return kept[size]

    @cached_property
    def _schedules(self) -> "dict[int | Size, NoiseSchedule]":
        return {}

    @cached_property
    def _guidable(self) -> dict[int | Size, list[bool]]:
        return {}

    def _is_guidable(self, size: int | Size) -> list[bool]:
        """Return for each step whether guidance runs an unconditional half there.

        While the model is not on this disk, by a schedule like that of Stable Diffusion 1.5.
        """
        low, high = self.guidance_interval
        reads_scale = self.is_on_disk and self.family.embeds_guidance(self.folder)
        if reads_scale or (low, high) == (0, 1):
            return [not reads_scale] * self.num_steps
        if self.is_on_disk:
            parts = self.schedule(size).parts
        else:
            from sip.images.schedulers import assumed_parts

            spacing = spaced(self.timestep_spacing)
            parts = assumed_parts(self.scheduler, self.num_steps, spacing)
        return [low <= part <= high for part in parts]

    def guided_steps(self, prompt: Prompt) -> list[bool]:
        """Return for each step that is run whether it runs the unconditional half too."""
        size = self.size_of(prompt)
        if size not in self._guidable:
            self._guidable[size] = self._is_guidable(size)
        steps = self._guidable[size][self.first_step(prompt) :]
        # As diffusers decides it: scales of 1 and below change nothing.
        return steps if prompt.guidance_scale > 1 else [False] * len(steps)

    def num_evaluations(self, prompt: Prompt) -> int:
        """Return the cost of this image in forward passes of the denoiser."""
        guided = self.guided_steps(prompt)
        return len(guided) + sum(guided)

    def group(self, prompt: Prompt) -> tuple[int, bool, int | Size]:
        """Return what rows that run the same calls share: first step, whether any is guided, size.

        A square's size is the same in all rows.
        """
        return self.first_step(prompt), any(self.guided_steps(prompt)), self.size_of(prompt)


def _family(path: Path) -> "type[Family]":
    from sip.images.families import family_of

    return family_of(PipelineFolder(path))


def built(kind: type[T], key: str, values: Mapping[str, Any]) -> T:
    """Return a part of the settings that YAML states as a mapping."""
    try:
        return kind(**values)
    except ValueRefusedError as error:
        raise error.below(key) from None
    except TypeError:
        keys = ", ".join(item.name for item in fields(kind))  # type: ignore[arg-type]
        raise refuse(key, f"null or a mapping of {keys}", list(values)) from None
