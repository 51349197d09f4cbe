"""Text encoders: weighted prompts to hidden states, and to pooled ones where there are such."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting
from sip.prompts.weighting.tokens import Tokens, clip_length, tokenize


class TextEncoder(nn.Module):
    """Encodes weighted prompts, and the empty one once for all.

    Args:
        tokenizer, encoder: Those in the model's folder.
    """

    def __init__(self, tokenizer: Any, encoder: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self._empty: tuple[Tensor, Tensor | None] | None = None

    def embed(
        self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]
    ) -> tuple[Tensor, Tensor | None]:
        """Return hidden states (B, L, D), weighted, and pooled ones (B, P), not weighted."""
        pooled: list[Tensor | None] = []

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            hidden, pools = self._encode(ids, mask)
            pooled.append(pools)
            return hidden

        hidden = weighting(encode, self.tokens(prompts), self.empty()[0])
        # A weighting encodes the plain prompts first.
        return hidden, None if pooled[0] is None else pooled[0][: len(prompts)]

    def empty(self) -> tuple[Tensor, Tensor | None]:
        """Return the embeddings of the empty prompt, (1, L, D) and (1, P)."""
        if self._empty is None:
            ids = self.tokens([()]).ids
            hidden, pooled = self._encode(ids, torch.ones_like(ids))
            self._empty = hidden.float(), pooled
        return self._empty

    def forget(self) -> None:
        """Forget the empty prompt."""
        self._empty = None

    def tokens(self, prompts: Sequence[tuple[Span, ...]]) -> Tokens:
        """Return the prompts as tokens."""
        config: Any = self.encoder.config
        length = clip_length(self.tokenizer, config.max_position_embeddings)
        return tokenize(self.tokenizer, prompts, length)

    def _encode(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError


class ClipText(TextEncoder):
    """CLIP's.

    Args:
        tokenizer, encoder: Those in the model's folder.
        layer: -1 is the last one, after the final norm; -2 the one before, without it.
    """

    def __init__(self, tokenizer: Any, encoder: nn.Module, layer: int) -> None:
        super().__init__(tokenizer, encoder)
        self.layer = layer

    def _encode(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        device = next(self.encoder.parameters()).device
        output = self.encoder(
            ids.to(device), attention_mask=mask.to(device), output_hidden_states=self.layer != -1
        )
        hidden = output.last_hidden_state if self.layer == -1 else output.hidden_states[self.layer]
        return hidden, getattr(output, "text_embeds", None)
