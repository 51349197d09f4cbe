"""SigLIP measures how well a caption fits its image: the cosine of their embeddings.

Source: Zhai et al., SigLIP, ICCV 2023 (arXiv 2303.15343), by transformers.

Its cosines are much lower than CLIP's, since it is trained with a sigmoid and a bias instead of a
softmax. They rank captions, but the paper's rule that turns a similarity into a guidance scale is
made for CLIP's range: take `prompts.guidance.scaling=quantile`.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.scores.two_towers import TwoTowers

if TYPE_CHECKING:
    from torch import Tensor


class Siglip(TwoTowers):
    """Cosines of images and captions."""

    model_class: ClassVar[str] = "SiglipModel"

    def require(self) -> None:
        """Make sure that the weights are on this disk; download them if the hub may be asked.

        Raises:
            UserError: They are missing and cannot be downloaded; or the tokenizer's package is
                missing.
        """
        # Without it transformers falls back on another tokenizer, which keeps punctuation marks.
        missing = [name for name in ("sentencepiece", "google.protobuf") if not _installed(name)]
        if missing:
            raise UserError(
                "scores=siglip: SigLIP's tokenizer needs the packages sentencepiece and protobuf; "
                f"{install_extras('siglip')}"
            )
        super().require()

    def encode_texts(self, network: Any, tokenizer: Any, texts: list[str]) -> "Tensor":
        """Return the embeddings (texts, D) of one batch."""
        return encode_padded(network, tokenizer, texts)

    def _processor(self, folder: Path) -> Any:
        from transformers import SiglipImageProcessorPil, SiglipProcessor, SiglipTokenizer

        image_processor = SiglipImageProcessorPil.from_pretrained(folder)
        return SiglipProcessor(image_processor, SiglipTokenizer.from_pretrained(folder))


def encode_padded(network: Any, tokenizer: Any, texts: list[str]) -> "Tensor":
    """Return the embeddings (texts, D) of one batch.

    Always padded to the full context, and without a mask, as SigLIP was trained: it reads the
    padding too.
    """
    tokens = tokenizer(
        texts,
        padding="max_length",
        truncation=True,
        max_length=network.config.text_config.max_position_embeddings,
        return_tensors="pt",
    ).to(network.device)
    features: Tensor = network.get_text_features(tokens.input_ids).pooler_output
    return features


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that contains it
        return False
