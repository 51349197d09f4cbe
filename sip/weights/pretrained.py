"""Load transformers models for inference: only safetensors, no network, no code of the folder."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sip.core.errors import UserError
from sip.weights.checksums import check_hub
from sip.weights.safety import plain_load_errors, require_filled
from sip.weights.source import require, weights_folder, weights_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Model = TypeVar("Model", bound=PreTrainedModel)

DTYPES = ("float32", "bfloat16", "float16")


class Pretrained(ABC):
    """A model that is loaded on request and dropped again; base of captioners and scorers.

    Subclasses are frozen components with the fields `model` (folder or hub name), `revision` (of
    the hub) and `dtype` (one of `DTYPES`). Declare `model: str = known_by("weights")`, so that the
    recipe holds the content of the weights and not their path.

    Attributes:
        network: The model in evaluation mode; None before `load` and after `clear`.
        processor: Result of `_load_processor`; None before `load`.
    """

    model_class: ClassVar["type[PreTrainedModel]"]
    model: str
    revision: str | None
    dtype: str
    network: Any = None
    processor: Any = None

    @cached_property
    def weights(self) -> dict[str, Any]:
        """Identity of the weights, for the recipe."""
        return weights_recipe(self.model, self.revision)

    def require(self) -> None:
        """Make sure that the weights are on this disk; download them if the hub may be asked.

        Raises:
            UserError: They are missing and cannot be downloaded, or damaged.
        """
        require(self.model, self.revision)

    def load(self, device: str) -> None:
        """Load the weights and the processor once; move the weights to another device if asked."""
        if self.network is None:
            folder = weights_folder(self.model, self.revision)
            with plain_load_errors(f"model folder {folder}"):
                processor = self._load_processor(folder)
            network = load_transformer(
                self.model_class, self.model, self.revision, self.dtype, device
            )
            # Not part of the component's value, which is frozen.
            object.__setattr__(self, "processor", processor)
            object.__setattr__(self, "network", network)
        self.network.to(device)

    def clear(self) -> None:
        """Drop the weights; `load` brings them back."""
        object.__setattr__(self, "network", None)

    @abstractmethod
    def _load_processor(self, folder: Path) -> Any:
        """Return the processor (image processor, tokenizer or both) of a model folder."""


def check_dtype(key: str, dtype: str) -> None:
    """Check the name of a torch type.

    Args:
        key: The configuration's key, for the message.
        dtype: What it holds.

    Raises:
        UserError: There is no such type, or models cannot be run in it.
    """
    if dtype not in DTYPES:
        raise UserError(f"{key}: expected one of {', '.join(DTYPES)}, came {dtype!r}")


def load_transformer(
    model_class: "type[Model]", path: str, revision: str | None, dtype: str, device: str
) -> "Model":
    """Load a transformers model for inference: safetensors alone, no network, no bar of its own.

    The stored weights are converted to `dtype`, a torch type by name.

    Raises:
        UserError: As `require`; there is no such `dtype`; or the weights do not fill the model,
            which transformers would let pass with random numbers in their place.
    """
    import torch
    from transformers.utils import logging

    check_dtype("dtype", dtype)
    folder, had_bar = weights_folder(path, revision), logging.is_progress_bar_enabled()
    check_hub(folder)
    logging.disable_progress_bar()
    try:
        with plain_load_errors(f"model folder {folder}"):
            loaded: Any = model_class.from_pretrained(
                folder, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
            )
    finally:
        if had_bar:
            logging.enable_progress_bar()
    model, info = loaded
    require_filled(folder, model_class.__name__, info)
    return model.eval().to(device)
