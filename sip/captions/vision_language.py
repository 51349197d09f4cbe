"""What captioners with a vision model and a language model share.

An image is encoded once for all of its candidates: the vision model runs once for each image, and
what the language model computes from the image (keys and values of its attention) is computed once
and copied for each candidate. The number of samples and the token limits are ours.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sip.core.component import component, refuse
from sip.core.hashing import seed_of
from sip.core.ranges import Count, Rate, Seed
from sip.dataset.base import Sample
from sip.device.settings import Runtime
from sip.weights.layout import read_json
from sip.weights.memory import WIDTHS, cached_config, gibibytes
from sip.weights.pretrained import Pretrained

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from sip.captions.module import CaptionModule


@component
class VisionLanguage(Pretrained):
    """Several captions for each image.

    Args:
        dtype: In the half types the rounding of a product may depend on how many rows it has; on a
            device where it does, a batch of another size can, now and then, give another caption.
            In float32 it takes a tie to the last bits.
        sampling: How tokens are sampled.
        top_p: Probability that the nucleus holds; None for beams.
        num_beams: Beams searched; 1 for nucleus sampling.
        num_captions: Samples, or best beams that are kept; fewer if some are the same.
        min_tokens: Least length of a caption.
        max_tokens: Largest length; the end token counts.
        seed: Seed of the nucleus samples.
    """

    processor_class: ClassVar[str]  # in transformers

    sampling: Literal["nucleus", "beam"]
    top_p: Rate | None
    num_beams: Count
    num_captions: Count
    min_tokens: Annotated[int, Field(ge=0)]
    max_tokens: Count
    seed: Seed

    def __post_init__(self) -> None:
        if self.sampling == "nucleus" and self.top_p is None:
            raise refuse("top_p", "a number in (0, 1] for captions.sampling=nucleus", None)
        if self.sampling == "nucleus" and self.num_beams > 1:
            rule, fix = "1 for captions.sampling=nucleus", "set captions.sampling=beam"
            raise refuse("num_beams", rule, self.num_beams, fix)
        if self.sampling == "beam" and self.num_captions > self.num_beams:
            raise refuse(
                "num_captions", f"at most captions.num_beams={self.num_beams}", self.num_captions
            )
        if self.min_tokens > self.max_tokens:
            rule = f"at most captions.max_tokens={self.max_tokens}"
            raise refuse("min_tokens", rule, self.min_tokens)

    def memory_line(self) -> str:
        """Return what weights and one image of a batch need of the device's memory."""
        line = self.memory().line()
        file = cached_config(self.model, self.revision)
        if file is None:
            return line
        per_token = bytes_of_token(read_json(file), WIDTHS[self.dtype])
        tokens = self.num_places(file.parent) + self.max_tokens
        rows = max(self.num_captions, self.num_beams)
        return (
            f"{line}; {gibibytes(per_token * tokens * rows)} for each image of a batch: keys and "
            f"values of {rows} x {tokens:,} tokens"
        )

    @abstractmethod
    def num_places(self, folder: Path) -> int:
        """Return the tokens that image and question take, from a folder's small files."""

    def key(self, sample: Sample) -> str:
        """Return the hash of the image's content: its name and class are not read."""
        return sample.sha256

    def load(self, runtime: Runtime) -> "CaptionModule":
        """Return a new module with the weights on the device."""
        from sip.captions.module import CaptionModule

        processor, network = self.read_processor(), self.read_network(runtime.device)
        return CaptionModule(
            self.key,
            partial(prepared, processor.image_processor),
            partial(self.caption, network, processor.tokenizer),
            network,
        )

    def caption(
        self, network: Any, tokenizer: Any, samples: Sequence[Sample], pixels: Any
    ) -> list[list[str]]:
        """Return the candidates of each sample, without repetitions.

        Nucleus: in the order in which they were sampled. Beam: the most likely first.

        Args:
            network: The weights.
            tokenizer: Tokenizer of the network.
            samples: At least one.
            pixels: What was prepared of the samples, on the device.
        """
        tokens = self.generate(network, pixels, **self.options(samples))
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        num = self.num_captions
        rows = [texts[row * num : (row + 1) * num] for row in range(len(samples))]
        return [list(dict.fromkeys(map(self.clean, row))) for row in rows]

    def clean(self, text: str) -> str:
        """Return a caption without the space around it."""
        return text.strip()

    @abstractmethod
    def generate(self, network: Any, pixels: Any, **options: Any) -> "Tensor":
        """Return tokens (images * num_captions, length), int64, image by image.

        Args:
            network: The weights.
            pixels: What was prepared of the images, on the device.
            options: Options of transformers' `generate`.
        """

    @property
    def rows_per_image(self) -> int:
        """Rows handed to transformers' `generate` for each image; it makes the beams itself."""
        return self.num_captions if self.sampling == "nucleus" else 1

    def options(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return how transformers' `generate` chooses the tokens."""
        options: dict[str, Any] = {
            "min_new_tokens": self.min_tokens,
            "max_new_tokens": self.max_tokens,
            "do_sample": False,
            "num_beams": self.num_beams if self.sampling == "beam" else 1,
        }
        if self.sampling == "beam":
            return {**options, "num_return_sequences": self.num_captions}
        from transformers import LogitsProcessorList

        from sip.captions.nucleus import NucleusSampler

        seeds = [
            seed_of(self.seed, sample.sha256, candidate)
            for sample in samples
            for candidate in range(self.num_captions)
        ]
        sampler = NucleusSampler(self.top_p or 1.0, seeds)
        return {**options, "logits_processor": LogitsProcessorList([sampler])}

    def _processor(self, folder: Path) -> Any:
        import transformers

        # Pillow's resize, as in the models' own code; torchvision's rounds in another way.
        processor_class = getattr(transformers, self.processor_class)
        return processor_class.from_pretrained(folder, backend="pil")


def bytes_of_token(config: dict[str, Any], width: int) -> float:
    """Return the bytes of a token's keys and values in a language model, from its `config.json`.

    Args:
        config: The whole configuration.
        width: Bytes of a number.
    """
    text = config.get("text_config") or config

    def stated(*names: str) -> float | None:
        return next((text[name] for name in names if text.get(name)), None)

    layers = stated("num_hidden_layers", "decoder_layers") or 0
    heads = stated("num_attention_heads", "decoder_attention_heads") or 1
    hidden = stated("hidden_size", "d_model") or 0
    per_head = stated("head_dim") or hidden / heads
    return 2 * layers * (stated("num_key_value_heads") or heads) * per_head * width


def cache_name() -> str:
    """Return what transformers calls keys and values computed before; renamed in 5.24."""
    from dataclasses import fields

    from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

    names = {field.name for field in fields(CausalLMOutputWithCrossAttentions)}
    return "cache" if "cache" in names else "past_key_values"


def prepared(image_processor: Any, images: Sequence["Image"]) -> "Tensor":
    """Return RGB images of any size as (images, 3, H, W), float32, as the model takes them."""
    pixels: Tensor = image_processor(images=list(images), return_tensors="pt").pixel_values
    return pixels
