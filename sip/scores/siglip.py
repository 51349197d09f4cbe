"""SigLIP measures how well a caption fits its picture: the cosine of their embeddings.

Source: Zhai et al., SigLIP, ICCV 2023 (arXiv 2303.15343), by transformers.

Its cosines are much lower than CLIP's, since it is trained with a sigmoid and a bias instead of a
softmax. They rank captions, but the paper's rule that turns a similarity into a guidance scale is
made for CLIP's range and does not carry over unchanged.
"""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor
from transformers import SiglipImageProcessorPil, SiglipModel, SiglipProcessor, SiglipTokenizer

from sip.core.errors import UserError
from sip.scores.two_towers import TwoTowers


class Siglip(TwoTowers):
    """Cosines of pictures and captions."""

    model_class = SiglipModel

    def require(self) -> None:
        """Make sure that the weights are on this disk; download them where the hub may be asked.

        Raises:
            UserError: They are not, and cannot be had; or the tokenizer's package is missing.
        """
        # Without it transformers falls back on another tokenizer, which keeps punctuation marks.
        missing = [name for name in ("sentencepiece", "google.protobuf") if not _installed(name)]
        if missing:
            raise UserError(
                "scores=siglip: SigLIP's tokenizer needs the packages sentencepiece and protobuf; "
                "install them with: pip install sentencepiece protobuf"
            )
        super().require()

    def _load_processor(self, folder: Path) -> SiglipProcessor:
        image_processor = SiglipImageProcessorPil.from_pretrained(folder)
        return SiglipProcessor(image_processor, SiglipTokenizer.from_pretrained(folder))

    def _embed_texts(self, texts: list[str]) -> Tensor:
        """Return the embeddings (texts, D) of one batch.

        Always padded to the full context, and without a mask, as SigLIP was trained: it reads the
        padding too.
        """
        tokens = self.processor.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.network.device)
        return self.network.get_text_features(tokens.input_ids).pooler_output


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
