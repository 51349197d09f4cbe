"""What a prompt weighting is: from weighted tokens to the embedding that the U-Net reads.

No text is parsed: the weights are next to the text in `Span`s, so parentheses, + and - in a
caption are plain text.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from sip.prompts.weighting.tokens import Tokens

    # Token ids (N, L) and an attention mask (N, L), 1 keeps, to the text encoder's last hidden
    # state (N, L, D).
    Encode = Callable[[Tensor, Tensor], Tensor]


class Weighting(Protocol):
    """Embeds weighted prompts, many at once; each row depends on its own prompt only."""

    def recipe(self) -> dict:
        """Return everything that decides the embedding."""

    def __call__(
        self, encode: "Encode", tokens: "Tokens", empty: "Tensor | None" = None
    ) -> "Tensor":
        """Return embeddings (B, L, D), float32, one a prompt.

        Args:
            encode: Called once for all; the first B rows are the prompts, with no token masked.
            tokens: The prompts.
            empty: (1, L, D), float32, the empty prompt's hidden state; None encodes it too.
        """
