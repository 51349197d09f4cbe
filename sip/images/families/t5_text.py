"""T5 as a text encoder, with weighted prompts as in `clip_text`."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sip.images.families.clip_text import TextEncoder
from sip.prompts.base import Span
from sip.prompts.weighting.tokens import Tokens, tokenize_whole


class T5Text(TextEncoder):
    """The T5 encoder; it attends to padding, as it was trained to here.

    Args:
        tokenizer, encoder: Those in the model's folder.
        length: Tokens that it reads.
    """

    def __init__(self, tokenizer: Any, encoder: nn.Module, length: int) -> None:
        super().__init__(tokenizer, encoder)
        self.length = length

    def tokens(self, prompts: Sequence[tuple[Span, ...]]) -> Tokens:
        """Return the prompts as tokens, each cut from its whole text."""
        return tokenize_whole(self.tokenizer, prompts, self.length)

    def _encode(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        device = next(self.encoder.parameters()).device
        output = self.encoder(ids.to(device), attention_mask=mask.to(device))
        return output.last_hidden_state, None
