"""Florence-2: captions at three levels of detail, asked for by a task prompt.

Source: Xiao et al., Florence-2, CVPR 2024 (arXiv 2311.06242), by transformers: the copies of
florence-community, which need no code of the repository. An encoder reads image and task, a decoder
writes; both read each image once for all of its captions.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sip.captions.vision_language import VisionLanguage, prepared
from sip.core.component import component
from sip.device.settings import Runtime
from sip.weights.layout import read_json

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from sip.captions.module import CaptionModule

PLACES, TASK = 577, 16  # tokens of the image in the published models; of a task's text, at most


@component
class Florence2(VisionLanguage):
    """An encoder of image and task, and a decoder that attends to what it gives.

    Args:
        task: What is asked for: a caption, a detailed one of some sentences, or a paragraph.
    """

    model_class: ClassVar[str] = "Florence2ForConditionalGeneration"
    processor_class: ClassVar[str] = "Florence2Processor"

    task: Literal["<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>"]

    def load(self, runtime: Runtime) -> "CaptionModule":
        """Return a new module with the weights on the device."""
        from PIL import Image

        from sip.captions.module import CaptionModule

        processor, network = self.read_processor(), self.read_network(runtime.device)
        blank = Image.new("RGB", (8, 8))
        tokens = processor(images=blank, text=self.task, return_tensors="pt").input_ids
        return CaptionModule(
            self.key,
            partial(_with_task, processor.image_processor, tokens),
            partial(self.caption, network, processor.tokenizer),
            network,
        )

    def num_places(self, folder: Path) -> int:
        """Return the places of the image, and about as many tokens as the longest task has."""
        files = [folder / name for name in ("preprocessor_config.json", "processor_config.json")]
        stated = [read_json(file) for file in files if file.is_file()]
        stated += [values.get("image_processor", {}) for values in stated]
        lengths = (values.get("image_seq_length") for values in stated)
        return next(filter(None, lengths), PLACES) + TASK

    def generate(self, network: Any, pixels: Any, **options: Any) -> "Tensor":
        """Return tokens (images * num_captions, length), int64, image by image."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        tokens = torch.cat([row["input_ids"] for row in pixels])
        images = torch.cat([row["pixel_values"] for row in pixels]).to(network.dtype)
        model = network.model
        embeddings = model.get_input_embeddings()(tokens)
        of_images = model.get_image_features(images, return_dict=True).pooler_output
        place = (tokens == network.config.image_token_id)[..., None]
        embeddings = embeddings.masked_scatter(place, of_images.to(embeddings.dtype))
        mask = torch.ones_like(tokens)  # all rows have the same task, so none is padded
        read = model.get_encoder()(inputs_embeds=embeddings, attention_mask=mask)
        rows = self.rows_per_image
        states = read.last_hidden_state.repeat_interleave(rows, dim=0)
        result: Tensor = network.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask.repeat_interleave(rows, dim=0),
            **options,
        )
        return result


def _with_task(
    image_processor: Any, tokens: "Tensor", images: Sequence["Image"]
) -> list[dict[str, "Tensor"]]:
    """Return what the model reads of each RGB image: a batch of one row each.

    Args:
        image_processor: The one of the model's folder.
        tokens: (1, length), int64: places for the image, and the task.
        images: Of any size.
    """
    pixels = prepared(image_processor, images)
    return [{"input_ids": tokens, "pixel_values": row[None]} for row in pixels]
