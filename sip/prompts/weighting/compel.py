"""compel's weighting, in batches and without its parser.

Source: compel 2.5 (MIT), `get_embeddings_for_weighted_prompt_fragments` with its defaults
(downweighting by mask, cut at the tokenizer's length). Equal to it within rounding. The distance of
every token's embedding from the empty prompt's is multiplied by its weight; then the whole is mixed
with embeddings of the same prompt in which one lowered span is hidden from attention, one for each
such span, in the share tan((1 - weight) pi / 2).
"""

import math
from typing import TYPE_CHECKING

from sip.core.component import Component, component

if TYPE_CHECKING:
    from torch import Tensor

    from sip.prompts.weighting.base import Encode
    from sip.prompts.weighting.tokens import Tokens

LEAST_WEIGHT = 1e-5  # compel's: the share of weight 0 would be infinite


@component
class CompelWeighting(Component):
    """Up by distance from the empty prompt, down by mixing in the prompt without the span."""

    def __call__(
        self, encode: "Encode", tokens: "Tokens", empty: "Tensor | None" = None
    ) -> "Tensor":
        """Return embeddings (B, L, D), float32, one a prompt.

        The B prompts, one row more for each lowered span, and the empty prompt, if its hidden state
        (1, L, D) is not given, are encoded at once.
        """
        import torch

        num_prompts = len(tokens.ids)
        owners = torch.tensor([*range(num_prompts), *(row for row, *_ in tokens.lowered)])
        ids = tokens.ids[owners]
        if empty is None:
            ids = torch.cat([ids, tokens.empty])
        mask = torch.ones_like(ids)
        for row, (_, first, last, _) in enumerate(tokens.lowered, start=num_prompts):
            mask[row, first : last + 1] = 0
        hidden = encode(ids, mask).float()

        variants = hidden[: len(owners)]
        empty = hidden[-1:] if empty is None else empty
        weights = tokens.weights[owners, :, None].to(hidden.device)
        moved = torch.where(weights == 1, variants, empty + (variants - empty) * weights)

        shares = torch.ones(len(owners))
        for row, (*_, weight) in enumerate(tokens.lowered, start=num_prompts):
            shares[row] = math.tan((1 - max(weight, LEAST_WEIGHT)) * math.pi / 2)
        totals = torch.zeros(num_prompts).index_add(0, owners, shares)
        parts = moved * (shares / totals[owners])[:, None, None].to(hidden.device)
        return torch.zeros_like(parts[:num_prompts]).index_add(0, owners.to(hidden.device), parts)
