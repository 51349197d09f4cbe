"""Embeddings of prompts, on the device; each distinct prompt is embedded once and by itself."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sip.images.families.base import Family
from sip.images.naming import encoded_as
from sip.images.recent import Recent
from sip.prompts.base import Prompt, Span
from sip.prompts.weighting.base import Weighting


class TextEmbeddings:
    """The embeddings of the prompts that were used last, and that of "no text".

    Args:
        family: Encodes the texts.
        weighting: Turns weighted spans into embeddings.
        names: Class name -> what the text encoder reads in its place.
    """

    def __init__(
        self, family: Family, weighting: Weighting, names: Mapping[str, str] | None = None
    ) -> None:
        self.family = family
        self.weighting = weighting
        self.names = names or {}
        self._kept: Recent[tuple[Span, ...]] = Recent(family.texts_kept)
        self._unconditional: Tensor | None = None

    def positive(self, rows: Sequence[Prompt]) -> Tensor:
        """Return the embeddings (B, F) of the rows' prompts."""
        return self._embed([encoded_as(row.spans, row.class_name, self.names) for row in rows])

    def negative(self, rows: Sequence[Prompt]) -> Tensor:
        """Return the embeddings (B, F) that guidance leads away from."""
        if self._unconditional is None:
            self._unconditional = self.family.unconditional(self.weighting)
        if not any(row.negative_prompt for row in rows):
            return self._unconditional.expand(len(rows), -1)
        texts = self._embed([plain(row.negative_prompt) for row in rows])
        without = torch.tensor([not row.negative_prompt for row in rows], device=texts.device)
        return torch.where(without[:, None], self._unconditional, texts)

    def clear(self) -> None:
        """Remove all cached embeddings from the device."""
        self._kept.clear()
        self._unconditional = None
        self.family.forget()

    def _embed(self, prompts: list[tuple[Span, ...]]) -> Tensor:
        return self._kept.get(prompts, self._embed_one)

    def _embed_one(self, prompt: tuple[Span, ...]) -> Tensor:
        return self.family.encode_texts(self.weighting, [prompt])[0]


def plain(text: str) -> tuple[Span, ...]:
    """Return a text without weights as spans."""
    return (Span(text, 1.0),) if text else ()
