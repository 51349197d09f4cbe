"""MetaCLIP 2 measures how well a caption fits its image, in more than 300 languages.

Source: Chuang et al., MetaCLIP 2, 2025 (arXiv 2507.22062), by transformers: CLIP's architecture
with a vocabulary of 901,629 tokens. Its cosines lie about where CLIP's do.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from sip.scores.clip import Clip


class MetaClip2(Clip):
    """Cosines of images and captions."""

    model_class: ClassVar[str] = "MetaClip2Model"

    def _processor(self, folder: Path) -> Any:
        from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="right")
        image_processor = CLIPImageProcessorPil.from_pretrained(folder)
        return SimpleNamespace(image_processor=image_processor, tokenizer=tokenizer)
