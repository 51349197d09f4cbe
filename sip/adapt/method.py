"""What is trained and how: the settings that all methods share, and one class a method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sip.adapt.names import placeholders
from sip.core.component import Component, component, ignored, refuse
from sip.core.ranges import Count, NotNegative, Positive, Share
from sip.core.templates import cut

if TYPE_CHECKING:
    from sip.adapt.trained import Trained
    from sip.images.families.sd import StableDiffusion

Templates = Annotated[list[str], Field(min_length=1)]
FIELDS = ("label", "article")
VOWELS = tuple("aeiou")


@component
class Method(Component, ABC):
    """A way to adapt a generator.

    Args:
        steps: Optimiser steps.
        batch_size: Images of the data set in a batch.
        accumulate: Batches of an optimiser step.
        lr: Learning rate, after the warm-up.
        schedule: How the learning rate goes, by diffusers' name.
        warmup_steps: Steps in which the rate rises from 0.
        weight_decay: AdamW's.
        gradient_clip: Largest norm of the gradient; None: not clipped.
        min_snr: The loss of a timestep counts as its signal-to-noise ratio, but at most this (Hang
            et al., arXiv 2303.09556); None: all alike.
        flip_prob: Probability that an image is mirrored.
        templates: Texts of the images, each with `{label}` (and `{article}`, as in the prompts):
            one at random for each image and step. None: the prompts of the group `prompts`.
        precision: Lightning's; "auto" is that of `images.dtype`.
        gradient_checkpointing: Whether activations are computed again: less memory, more time.
        validate_every: Optimiser steps between two sets of validation images; None: only at the
            start and at the end.
        num_validation: Classes with a validation image.
        validation_guidance: Guidance scale of the validation images.
        validation_steps: Denoising steps of the validation images.
    """

    name: ClassVar[str]
    pools: ClassVar[bool] = True  # whether models with a second, pooled text encoder can be adapted
    file: ClassVar[str]  # of the result, as diffusers names it

    steps: Count
    batch_size: Count
    accumulate: Count
    lr: Positive
    schedule: Literal["constant_with_warmup", "linear", "cosine"]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: NotNegative
    gradient_clip: Positive | None
    min_snr: Positive | None
    flip_prob: Share
    templates: Templates | None
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    gradient_checkpointing: bool = ignored()
    validate_every: Count | None = ignored()
    num_validation: Count = ignored()
    validation_guidance: NotNegative = ignored()
    validation_steps: Count = ignored()

    def __post_init__(self) -> None:
        """Refuse templates that do not name the class, and a warm-up without an end."""
        for template in self.templates or ():
            cut("templates", template, FIELDS, needed=("label",))
        if self.warmup_steps >= self.steps:
            raise refuse("warmup_steps", f"< steps ({self.steps})", self.warmup_steps)

    def texts(self, label: str) -> list[str]:
        """Return the texts that an image of a class may get, from the templates."""
        article = "an" if label[:1].lower() in VOWELS else "a"
        return [text.format(label=label, article=article) for text in self.templates or ()]

    def names(self, class_names: Sequence[str], tokenizers: Sequence[Any]) -> Mapping[str, str]:
        """Return class name -> what the text encoder reads in its place, of those that differ.

        Args:
            class_names: Classes that it learns.
            tokenizers: The model's.
        """
        return {}

    @abstractmethod
    def trained(self, family: "StableDiffusion", names: Mapping[str, str], seed: int) -> "Trained":
        """Add what is trained to a loaded model whose own weights are frozen."""


@component
class LoraTraining(Method):
    """Low-rank updates (Hu et al., arXiv 2106.09685) of the U-Net, and of the text encoders.

    Args:
        rank: Rank of each update.
        alpha: The update counts alpha / rank.
        targets: Modules of the U-Net that are updated, by the end of their names.
        train_text_encoder: Whether the attention of the text encoders is updated too.
    """

    name: ClassVar[str] = "lora"
    file: ClassVar[str] = "pytorch_lora_weights.safetensors"

    rank: Count
    alpha: Positive
    targets: Annotated[list[str], Field(min_length=1)]
    train_text_encoder: bool

    def trained(self, family: "StableDiffusion", names: Mapping[str, str], seed: int) -> "Trained":
        """Add the updates, which change nothing yet."""
        from sip.adapt.lora import LoraWeights

        return LoraWeights(
            family, self.rank, self.alpha, self.targets, self.train_text_encoder, seed
        )


@component
class DreamboothLora(LoraTraining):
    """LoRA with prior preservation (DreamBooth, Ruiz et al., arXiv 2208.12242).

    Args:
        identifier: Rare word in front of the class name, which the images of the data set get.
        num_prior: Images of each class, by the model before it is adapted, that it must not forget.
        prior_template: Text of these, with `{label}` or without.
        prior_weight: What their loss counts.
        prior_guidance: Guidance scale with which they are generated.
    """

    name: ClassVar[str] = "dreambooth_lora"

    identifier: Annotated[str, Field(min_length=1)]
    num_prior: Count
    prior_template: str
    prior_weight: Positive
    prior_guidance: NotNegative

    def __post_init__(self) -> None:
        """Refuse a template with another field."""
        super().__post_init__()
        cut("prior_template", self.prior_template, FIELDS)

    def names(self, class_names: Sequence[str], tokenizers: Sequence[Any]) -> Mapping[str, str]:
        """Return each class name with the identifier in front."""
        return {name: f"{self.identifier} {name}" for name in class_names}

    def prior_text(self, label: str) -> str:
        """Return the text of the class images of a class."""
        article = "an" if label[:1].lower() in VOWELS else "a"
        return self.prior_template.format(label=label, article=article)


@component
class TextualInversion(Method):
    """One new word a class (Gal et al., arXiv 2208.01618); all other weights stay."""

    name: ClassVar[str] = "textual_inversion"
    pools: ClassVar[bool] = False
    file: ClassVar[str] = "learned_embeds.safetensors"

    def names(self, class_names: Sequence[str], tokenizers: Sequence[Any]) -> Mapping[str, str]:
        """Return the new word of each class."""
        return placeholders(class_names, tokenizers)

    def trained(self, family: "StableDiffusion", names: Mapping[str, str], seed: int) -> "Trained":
        """Add the words, each with the mean of its class name's embeddings."""
        from sip.adapt.inversion import Embeddings

        return Embeddings(family, names)
