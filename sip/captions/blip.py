"""BLIP writes what it sees: nucleus samples, or the best beams.

Source: Li et al., BLIP, ICML 2022 (arXiv 2201.12086), by transformers. Nucleus sampling: Holtzman
et al., ICLR 2020 (arXiv 1904.09751), section 3.1. The augmentation paper samples with p = 0.9 or
takes 3 beams; the number of samples and the token limits are ours.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BlipForConditionalGeneration,
    BlipProcessor,
    LogitsProcessor,
    LogitsProcessorList,
)

from sip.common.errors import UserError
from sip.common.images import read_rgb
from sip.common.seeds import seed_of
from sip.common.weights import load_transformer, require, weights_folder, weights_recipe
from sip.dataset.base import Sample

SAMPLINGS = ("nucleus", "beam")


class NucleusDraw(LogitsProcessor):
    """Draws the next token of every row with a generator of the row's own.

    transformers draws all rows from one random stream, so that a picture's captions would change
    with the pictures beside it. Here the token is drawn by inverse transform, from one number a
    row and step, and all other tokens are ruled out: `generate` then runs in greedy mode.
    """

    def __init__(self, top_p: float, seeds: Sequence[int]) -> None:
        self.top_p = top_p
        # On the CPU: a GPU's generators give other numbers for the same seed.
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (rows, vocabulary): 0 for the drawn token, minus infinity for the rest."""
        probabilities, tokens = (
            scores.double().softmax(-1).sort(dim=-1, descending=True, stable=True)
        )
        cumulative = probabilities.cumsum(-1)
        # The nucleus: the fewest tokens that hold `top_p`. The token that crosses it is in.
        nucleus = probabilities.masked_fill(cumulative - probabilities >= self.top_p, 0.0)
        cumulative = nucleus.cumsum(-1)
        uniform = torch.stack(
            [torch.rand(1, generator=g, dtype=torch.float64) for g in self.generators]
        )
        below = cumulative <= uniform.to(scores.device) * cumulative[:, -1:]
        drawn = tokens.gather(-1, below.sum(-1, keepdim=True))
        return torch.full_like(scores, -torch.inf).scatter_(-1, drawn, 0.0)


class Blip:
    """Several captions a picture.

    Args:
        model, revision: Folder or hub name, and the hub's revision.
        sampling: "nucleus" or "beam".
        top_p: Probability that the nucleus holds, in (0, 1]; None for beams.
        num_beams: Beams searched; 1 for nucleus sampling.
        num_captions: Samples drawn, or best beams kept; fewer come out where some are the same.
        min_tokens, max_tokens: Limits of the length; the end token counts towards the upper.
        seed: Of the nucleus samples.
        dtype: A torch type by name.
    """

    batch_size = 16  # pictures; what is written does not depend on it

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
            "class": "sip.captions.blip.Blip",
            "version": 1,
            "sampling": self.sampling,
            **choice,
            "num_captions": self.num_captions,
            "min_tokens": self.min_tokens,
            "max_tokens": self.max_tokens,
            "dtype": self.dtype,
            "weights": weights_recipe(self.model, self.revision),
        }

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not.
        """
        require(self.model, self.revision)

    def load(self, device: str) -> None:
        """Load the weights and the processor."""
        source = weights_folder(self.model, self.revision)
        # Pillow's resize, as in BLIP's own code; torchvision's rounds in another way.
        self.processor = BlipProcessor.from_pretrained(source, backend="pil")
        self.blip = load_transformer(
            BlipForConditionalGeneration, self.model, self.revision, self.dtype, device
        )

    def caption(self, samples: Sequence[Sample]) -> list[list[str]]:
        """Return the candidates of each sample, without repetitions.

        Nucleus: in the order drawn. Beam: the most likely first.

        Raises:
            ValueError: A picture cannot be read.
        """
        captions: list[list[str]] = []
        for start in range(0, len(samples), self.batch_size):
            captions += self._caption_batch(samples[start : start + self.batch_size])
        return captions

    @torch.inference_mode()
    def _caption_batch(self, samples: Sequence[Sample]) -> list[list[str]]:
        pictures = [read_rgb(sample.path, None) for sample in samples]
        pixels = self.processor.image_processor(images=pictures, return_tensors="pt").pixel_values
        tokens = self._generate(pixels.to(self.blip.device, self.blip.dtype), samples)
        texts = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        num = self.num_captions
        rows = [texts[row * num : (row + 1) * num] for row in range(len(samples))]
        return [list(dict.fromkeys(text.strip() for text in row)) for row in rows]

    def _generate(self, pixels: Tensor, samples: Sequence[Sample]) -> Tensor:
        """Return tokens (pictures * num_captions, length), int64, picture by picture."""
        limits: dict[str, Any] = {
            "min_new_tokens": self.min_tokens,
            "max_new_tokens": self.max_tokens,
            "do_sample": False,
        }
        if self.sampling == "beam":
            return self.blip.generate(
                pixels, num_beams=self.num_beams, num_return_sequences=self.num_captions, **limits
            )
        seeds = [
            seed_of(self.seed, sample.sha256, candidate)
            for sample in samples
            for candidate in range(self.num_captions)
        ]
        draw = LogitsProcessorList([NucleusDraw(self.top_p or 1.0, seeds)])
        # As `blip.generate`, but each picture goes through the vision model once for all its rows.
        seen = self.blip.vision_model(pixel_values=pixels).last_hidden_state
        seen = seen.repeat_interleave(self.num_captions, dim=0)
        decoder: Any = self.blip.text_decoder
        text: Any = self.blip.config.text_config
        return decoder.generate(
            input_ids=torch.full((len(seeds), 1), text.bos_token_id, device=seen.device),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            eos_token_id=text.sep_token_id,
            pad_token_id=text.pad_token_id,
            logits_processor=draw,
            **limits,
        )
