"""SigLIP 2 measures how well a caption fits its image: the cosine of their embeddings.

Source: Tschannen et al., SigLIP 2, 2025 (arXiv 2502.14786), by transformers; the models of fixed
size, which have SigLIP's architecture and Gemma's vocabulary. The models of any size (NaFlex) take
their images in another form, and are refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.scores.siglip import encode_padded
from sip.scores.two_towers import TwoTowers, with_own_tokenizer

if TYPE_CHECKING:
    from torch import Tensor


class Siglip2(TwoTowers):
    """Cosines of images and captions."""

    model_class: ClassVar[str] = "SiglipModel"

    def encode_texts(self, network: Any, tokenizer: Any, texts: list[str]) -> "Tensor":
        """Return the embeddings (texts, D) of one batch; in lower case, as it was trained."""
        return encode_padded(network, tokenizer, [text.lower() for text in texts])

    def _processor(self, folder: Path) -> Any:
        from transformers import SiglipImageProcessorPil

        return with_own_tokenizer(SiglipImageProcessorPil.from_pretrained(folder), folder)
