"""What scorers with an image encoder and a text encoder share."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sip.device.settings import Runtime
from sip.weights.pretrained import Pretrained

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from sip.scores.module import ScoreModule


class TwoTowers(Pretrained):
    """Cosines of images and captions; the cosine is float32 whatever `dtype` the encoders have."""

    def load(self, runtime: Runtime) -> "ScoreModule":
        """Return a new module with the weights on the device."""
        from sip.scores.module import ScoreModule

        processor, network = self.read_processor(), self.read_network(runtime.device)
        return ScoreModule(
            partial(_prepare, processor.image_processor),
            partial(_encode_images, network),
            partial(self.encode_texts, network, processor.tokenizer),
            network,
        )

    @abstractmethod
    def encode_texts(self, network: Any, tokenizer: Any, texts: list[str]) -> "Tensor":
        """Return the embeddings (texts, D) of one batch."""


def with_own_tokenizer(image_processor: Any, folder: Path) -> Any:
    """Return a processor of an image processor and the tokenizer of `tokenizer.json` as it is.

    Texts are padded at the end, as in training, whatever the tokenizer's class would do.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="right")
    return SimpleNamespace(image_processor=image_processor, tokenizer=tokenizer)


def _prepare(image_processor: Any, images: Sequence["Image"]) -> "Tensor":
    """Return RGB images of any size as (images, 3, H, W), float32, as the model takes them."""
    pixels: Tensor = image_processor(images=list(images), return_tensors="pt").pixel_values
    return pixels


def _encode_images(network: Any, pixels: "Tensor") -> "Tensor":
    features: Tensor = network.get_image_features(pixels.to(network.dtype)).pooler_output
    return features
