"""MetaCLIP 2 measures how well a caption fits its image, in more than 300 languages.

Source: Chuang et al., MetaCLIP 2, 2025 (arXiv 2507.22062), by transformers: CLIP's architecture
with a vocabulary of 901,629 tokens. Its cosines lie about where CLIP's do.
"""

from pathlib import Path
from typing import Any, ClassVar

from sip.scores.clip import Clip
from sip.scores.two_towers import with_own_tokenizer


class MetaClip2(Clip):
    """Cosines of images and captions."""

    model_class: ClassVar[str] = "MetaClip2Model"

    def _processor(self, folder: Path) -> Any:
        from transformers import CLIPImageProcessorPil

        return with_own_tokenizer(CLIPImageProcessorPil.from_pretrained(folder), folder)
