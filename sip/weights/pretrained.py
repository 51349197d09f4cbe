"""Load transformers models for inference: only safetensors, no network, no code of the folder."""

from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sip.core.component import Component, component, known_by
from sip.core.errors import UserError
from sip.core.ranges import Dtype
from sip.weights.checksums import check_hub
from sip.weights.layout import CONFIG, read_json
from sip.weights.loaded import LoadedWeights
from sip.weights.memory import Memory, described_parameters, memory_of
from sip.weights.safety import plain_load_errors, require_filled
from sip.weights.source import require, weights_folder, weights_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Model = TypeVar("Model", bound=PreTrainedModel)


@component
class Pretrained(Component):
    """A component with weights of transformers; base of captioners and scorers.

    It imports nothing heavy until the weights are loaded.

    Args:
        model: Folder or hub name.
        revision: Revision of the hub model; None for folders.
        dtype: Type of the loaded weights.
    """

    model_class: ClassVar[str]  # in transformers

    model: str = known_by("weights")
    revision: str | None = known_by("weights")
    dtype: Dtype

    @cached_property
    def weights(self) -> dict[str, Any]:
        """Identity of the weights, for the recipe."""
        return weights_recipe(self.model, self.revision)

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads."""
        return LoadedWeights.of(self.model, self.revision)

    def memory(self) -> Memory:
        """Return what the weights need of the device's memory."""

        def count(folder: Path) -> float:
            return described_parameters(folder, self.model_class)

        return memory_of(self.model, self.revision, self.dtype, count=count)

    def require(self) -> None:
        """Make sure that the weights are on this disk; download them if the hub may be asked.

        Raises:
            UserError: They are missing and cannot be downloaded, or damaged.
        """
        require(self.model, self.revision, check=self._check_class)

    def _check_class(self, folder: Path) -> None:
        """Refuse a model of another class, from its configuration.

        Raises:
            UserError: It is one.
        """
        config = read_json(folder / CONFIG)
        stated = config.get("architectures") or [config.get("architecture")]  # the latter is timm's
        if stated != [None] and self.model_class not in stated:
            raise UserError(
                f"model folder {folder}: must be a {self.model_class} of transformers, got "
                f"{', '.join(map(str, stated))} in {CONFIG}; set another model"
            )

    def read_network(self, device: str) -> Any:
        """Return a new model in evaluation mode, on the device."""
        import transformers

        model_class = getattr(transformers, self.model_class)
        return load_transformer(model_class, self.model, self.revision, self.dtype, device)

    def read_processor(self) -> Any:
        """Return a new processor: an image processor with a tokenizer."""
        folder = weights_folder(self.model, self.revision)
        with plain_load_errors(f"model folder {folder}"):
            return self._processor(folder)

    @abstractmethod
    def _processor(self, folder: Path) -> Any:
        """Return the processor of a model folder."""


def load_transformer(
    model_class: "type[Model]", path: str, revision: str | None, dtype: str, device: str
) -> "Model":
    """Load a transformers model for inference: only safetensors, no network, no bar of its own.

    The stored weights are converted to `dtype`, a torch type by name.

    Raises:
        UserError: As `require`; or the weights do not fill the model, which transformers would let
            pass with random numbers in their place.
    """
    import torch
    from transformers.utils import logging

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
