"""Captions by any chat model of transformers that reads images, as an instruction asks for them.

A chat model takes text and image tokens in one row, as its own processor and chat template lay
them out. How many tokens an image has depends on its size in some models, so each image is
prepared by itself and rows are padded on the left when they meet in a batch.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from sip.captions.vision_language import VisionLanguage
from sip.core.component import component, refuse
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.image_io import shrunk
from sip.core.ranges import Count
from sip.device.settings import Runtime
from sip.weights.layout import CONFIG, read_json

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from sip.captions.module import CaptionModule

TEMPLATE_TOKENS = 24  # of a chat template, about
TEMPLATES = ("chat_template.jinja", "chat_template.json")


@component
class ChatModel(VisionLanguage):
    """An image-to-text chat model, known to transformers' `AutoModelForImageTextToText`.

    Args:
        instruction: What the model is asked for each image.
        max_side: Longest side that the model is given, in pixels; larger images are shrunk.
    """

    model_class: ClassVar[str] = "AutoModelForImageTextToText"

    instruction: Annotated[str, Field(min_length=1)]
    max_side: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.instruction.strip():
            raise refuse("instruction", "text", self.instruction)

    def load(self, runtime: Runtime) -> "CaptionModule":
        """Return a new module with the weights on the device."""
        from sip.captions.module import CaptionModule

        processor, network = self.read_processor(), self.read_network(runtime.device)
        return CaptionModule(
            self.key,
            partial(self.prepare, processor, Lock()),
            partial(self.caption, network, processor.tokenizer),
            network,
        )

    def prepare(
        self, processor: Any, lock: Lock, images: Sequence["Image"]
    ) -> list[dict[str, "Tensor"]]:
        """Return what the model reads of each RGB image, a batch of one row each."""
        small = [shrunk(image, self.max_side) for image in images]
        # A tokenizer of Rust cannot be set up by two threads at once.
        with lock:
            return [
                dict(
                    processor.apply_chat_template(
                        self.messages(image),
                        add_generation_prompt=True,
                        tokenize=True,
                        return_dict=True,
                        return_tensors="pt",
                    )
                )
                for image in small
            ]

    def messages(self, image: "Image") -> list[dict[str, Any]]:
        """Return the conversation about an image, in transformers' form."""
        content = [{"type": "image", "image": image}, {"type": "text", "text": self.instruction}]
        return [{"role": "user", "content": content}]

    def num_places(self, folder: Path) -> int:
        """Return the tokens of a square image of the largest side, and of the instruction.

        Without the processor's files it is taken that a token stands for 28 x 28 px.
        """
        side = self.max_side
        tokens = (side // 28) ** 2
        with suppress(Exception):  # of an incomplete folder, or a processor that does not say
            processor = self._processor(folder)
            sizes = [(side, side)]
            tokens = processor._get_num_multimodal_tokens(image_sizes=sizes).num_image_tokens[0]
        return int(tokens) + len(self.instruction) // 4 + TEMPLATE_TOKENS

    def generate(self, network: Any, pixels: Any, **options: Any) -> "Tensor":
        """Return tokens (images * num_captions, length), int64, image by image."""
        pad = network.generation_config.pad_token_id
        inputs = {
            name: tensor.to(network.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in collate(pixels, pad or 0).items()
        }
        if self.sampling == "nucleus":
            # `generate` copies the rows only if it samples. The token is already chosen then: all
            # others are ruled out, and the sampling that the model's folder asks for is off.
            options |= {"do_sample": True, "num_return_sequences": self.num_captions}
            options |= {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
        tokens: Tensor = network.generate(**inputs, repetition_penalty=1.0, **options)
        return tokens[:, inputs["input_ids"].shape[1] :]

    def clean(self, text: str) -> str:
        """Return a caption in one line."""
        return " ".join(text.split())

    def _processor(self, folder: Path) -> Any:
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(folder, trust_remote_code=False)

    def _check_class(self, folder: Path) -> None:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN,
        )

        kind = read_json(folder / CONFIG).get("model_type")
        if kind == "smolvlm" and find_spec("num2words") is None:
            raise UserError(
                f"captions.model: {folder} needs the package num2words, which is not installed; "
                f"{install_extras('smolvlm')}"
            )
        if kind not in KNOWN:
            raise UserError(
                f"model folder {folder}: must be an image-to-text model that the installed "
                f"transformers knows, got model_type {kind!r} in {CONFIG}; set another model"
            )
        settings = folder / "tokenizer_config.json"
        named = settings.is_file() and read_json(settings).get("chat_template")
        if not named and not any((folder / name).is_file() for name in TEMPLATES):
            raise UserError(
                f"model folder {folder}: must be a chat model, got one without a chat template "
                f"({', '.join(TEMPLATES)}); take its -Instruct or -it version"
            )


def collate(rows: Sequence[Mapping[str, "Tensor"]], pad: int) -> dict[str, "Tensor"]:
    """Return rows that were prepared one by one as one batch.

    Whatever has a value for each token is padded on the left, since a decoder continues at the
    right end; all else (patches, tiles, sizes of grids) is put one after the other.

    Args:
        rows: Each a batch of one row, with `input_ids` (1, tokens).
        pad: Id of the token to pad with; the attention mask is 0 there.
    """
    import torch
    from torch.nn.functional import pad as padded

    lengths = [row["input_ids"].shape[1] for row in rows]
    batch = {}
    for name in rows[0]:
        tensors = [row[name] for row in rows]
        if all(t.shape == (1, n) for t, n in zip(tensors, lengths, strict=True)):
            fill = pad if name == "input_ids" else 0
            tensors = [
                padded(t, (max(lengths) - n, 0), value=fill)
                for t, n in zip(tensors, lengths, strict=True)
            ]
        else:
            tensors = _same_shape(tensors)
        batch[name] = torch.cat(tensors)
    return batch


def _same_shape(tensors: Sequence["Tensor"]) -> list["Tensor"]:
    """Return tensors padded with zeros at the end of all axes but the first, as processors do."""
    from torch.nn.functional import pad as padded

    largest = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
    return [
        padded(
            t,
            [
                amount
                for size, most in zip(reversed(t.shape[1:]), reversed(largest), strict=True)
                for amount in (0, most - size)
            ],
        )
        for t in tensors
    ]
