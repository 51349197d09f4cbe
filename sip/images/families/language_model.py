"""Language models as text encoders: a prompt within a chat template to hidden states.

No weighting of a part of the prompt is defined for them: the states of a causal model depend on
all tokens before, the template's included, so there is no "empty prompt" at the same positions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sip.images.families.flow import FlowFamily
from sip.prompts.base import Span
from sip.prompts.weighting.base import Weighting


class LanguageText(nn.Module):
    """Encodes prompts of unlike length, each by itself, without padding.

    Args:
        tokenizer, encoder: Those in the model's folder.
        template: Text to the text that is tokenized.
        layer: Which hidden state is read; -1 is the last one.
        skipped: Tokens of the template's beginning that are encoded and then left out.
        length: Tokens that are kept after those.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: nn.Module,
        template: Callable[[str], str],
        layer: int,
        skipped: int,
        length: int,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.template = template
        self.layer = layer
        self.skipped = skipped
        self.length = length

    def embed(self, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return rows (B, length (D + 1)): hidden states, and 1 for each that is a token's."""
        return torch.stack([self._embed("".join(s.text for s in spans)) for spans in prompts])

    def _embed(self, text: str) -> Tensor:
        device = next(self.encoder.parameters()).device
        most = self.length + self.skipped
        ids = self.tokenizer(
            [self.template(text)], max_length=most, truncation=True, return_tensors="pt"
        ).input_ids.to(device)
        states = self.encoder(input_ids=ids, output_hidden_states=True).hidden_states
        hidden = states[self.layer][0, self.skipped :]
        marked = torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)
        return nn.functional.pad(marked, (0, 0, 0, self.length - len(marked))).flatten()


class LanguageFamily(FlowFamily):
    """A transformer that reads prompts as a language model encodes them."""

    weighs_texts = False
    text: LanguageText

    def encode_texts(self, weighting: Weighting, prompts: Sequence[tuple[Span, ...]]) -> Tensor:
        """Return the embeddings (B, L (D + 1)), one a prompt; weights are not read."""
        return self.text.embed(prompts).to(self.denoiser.dtype)

    def unconditional(self, weighting: Weighting) -> Tensor:
        """Return the embedding (1, L (D + 1)) of the empty prompt."""
        return self.encode_texts(weighting, [()])


def tokens_of(texts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return hidden states (B, L, D) and where they are tokens', (B, L), of rows of `embed`.

    L is that of the longest of these prompts.

    Args:
        texts: (B, length (D + 1)).
        length: As `LanguageText` has it.
    """
    states = texts.unflatten(1, (length, -1))
    is_token = states[:, :, -1] > 0.5
    longest = int(is_token.sum(1).max())
    return states[:, :longest, :-1], is_token[:, :longest]
