"""What captioners that see and speak share: all but how one network's parts fit together.

A picture is seen once for all of its candidates: the vision model runs once a picture, and what
the language model makes of the picture alone (keys and values of its attention) is computed once
and copied for each candidate. The number of samples and the token limits are ours.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import LogitsProcessorList, ProcessorMixin
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from sip.captions.nucleus import NucleusDraw
from sip.core.errors import UserError
from sip.core.hashing import seed_of
from sip.dataset.base import Sample
from sip.weights.pretrained import Pretrained, check_dtype

SAMPLINGS = ("nucleus", "beam")
# What the keys and values computed before are called; renamed by transformers 5.24.
OUTPUTS = {field.name for field in fields(CausalLMOutputWithCrossAttentions)}
CACHE = "cache" if "cache" in OUTPUTS else "past_key_values"


class VisionLanguage(Pretrained):
    """Several captions a picture.

    Args:
        model, revision: Folder or hub name, and the hub's revision.
        sampling: "nucleus" or "beam".
        top_p: Probability that the nucleus holds, in (0, 1]; None for beams.
        num_beams: Beams searched; 1 for nucleus sampling.
        num_captions: Samples drawn, or best beams kept; fewer come out where some are the same.
        min_tokens, max_tokens: Limits of the length; the end token counts towards the upper.
        seed: Of the nucleus samples.
        dtype: "float32", "bfloat16" or "float16". In the half types a product's rounding may depend
            on how many rows it has; where a device does so, a batch of another size can, now and
            then, give another caption. In float32 it takes a tie to the last bits.
    """

    processor_class: ClassVar[type[ProcessorMixin]]

    def __init__(
        self,
        model: str,
        revision: str | None,
        sampling: str,
        top_p: float | None,
        num_beams: int,
        num_captions: int,
        min_tokens: int,
        max_tokens: int,
        seed: int,
        dtype: str,
    ) -> None:
        if sampling not in SAMPLINGS:
            raise UserError(f"captions.sampling: expected one of {SAMPLINGS}, came {sampling!r}")
        if sampling == "nucleus" and not (top_p and 0 < top_p <= 1):
            raise UserError(f"captions.top_p: expected a number in (0, 1], came {top_p!r}")
        if sampling == "beam" and num_captions > num_beams:
            raise UserError(
                f"captions.num_captions: expected at most num_beams={num_beams}, "
                f"came {num_captions}"
            )
        check_dtype("captions.dtype", dtype)
        self.model, self.revision, self.dtype = model, revision, dtype
        self.sampling, self.top_p, self.seed = sampling, top_p, seed
        self.num_beams, self.num_captions = num_beams, num_captions
        self.min_tokens, self.max_tokens = min_tokens, max_tokens

    def recipe(self) -> dict:
        """Return everything that decides what is written."""
        if self.sampling == "nucleus":
            choice = {"top_p": self.top_p, "seed": self.seed}
        else:
            choice = {"num_beams": self.num_beams}
        return {
            "class": f"{type(self).__module__}.{type(self).__name__}",
            "version": 1,
            "sampling": self.sampling,
            **choice,
            "num_captions": self.num_captions,
            "min_tokens": self.min_tokens,
            "max_tokens": self.max_tokens,
            "dtype": self.dtype,
            "weights": self.weights,
        }

    def _load_processor(self, folder: Path) -> ProcessorMixin:
        # Pillow's resize, as in the models' own code; torchvision's rounds in another way.
        return self.processor_class.from_pretrained(folder, backend="pil")

    def key(self, sample: Sample) -> str:
        """Return the hash of the picture's content: its name and class are not read."""
        return sample.sha256

    def prepare(self, pictures: Sequence[Image]) -> Tensor:
        """Return RGB pictures of any size as (pictures, 3, H, W), float32, as the model sees them.

        Safe in several threads at once.
        """
        seen = self.processor.image_processor(images=list(pictures), return_tensors="pt")
        return seen.pixel_values

    @torch.inference_mode()
    def caption(self, samples: Sequence[Sample], pixels: Tensor) -> list[list[str]]:
        """Return the candidates of each sample, without repetitions.

        Nucleus: in the order drawn. Beam: the most likely first.

        Args:
            samples: One batch of the device.
            pixels: (samples, 3, H, W), of `prepare`.
        """
        if not samples:
            return []
        seen = pixels.to(self.network.device, self.network.dtype, non_blocking=True)
        tokens = self._generate(seen, **self._options(samples))
        texts = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        num = self.num_captions
        rows = [texts[row * num : (row + 1) * num] for row in range(len(samples))]
        return [list(dict.fromkeys(text.strip() for text in row)) for row in rows]

    @property
    def rows_of_a_picture(self) -> int:
        """Rows handed to `generate` a picture; it makes the beams of a row itself."""
        return self.num_captions if self.sampling == "nucleus" else 1

    def _options(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return how `generate` chooses the tokens."""
        options: dict[str, Any] = {
            "min_new_tokens": self.min_tokens,
            "max_new_tokens": self.max_tokens,
            "do_sample": False,
            "num_beams": self.num_beams if self.sampling == "beam" else 1,
        }
        if self.sampling == "beam":
            return {**options, "num_return_sequences": self.num_captions}
        seeds = [
            seed_of(self.seed, sample.sha256, candidate)
            for sample in samples
            for candidate in range(self.num_captions)
        ]
        return {**options, "logits_processor": LogitsProcessorList([self._draw(seeds)])}

    def _draw(self, seeds: Sequence[int]) -> NucleusDraw:
        return NucleusDraw(self.top_p or 1.0, seeds)

    @abstractmethod
    def _generate(self, pixels: Tensor, **options: Any) -> Tensor:
        """Return tokens (pictures * num_captions, length), int64, picture by picture."""
