"""Low-rank adapters, fused into the weights when they are loaded: no cost during generation."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sip.core.component import Component, component, known_by
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.text import reason_of
from sip.weights.loaded import LoadedWeights
from sip.weights.source import require, resolve, weights_folder, weights_recipe

SafetensorsName = Annotated[
    str, Field(pattern=r".\.safetensors$", description="a name that ends in .safetensors")
]


@component
class Lora(Component):
    """An adapter's file, in a local folder or in the hub's cache.

    Args:
        model: Folder or hub name.
        revision: Revision of the hub model; None for folders.
        weight_name: Name of the safetensors file in it.
        scale: 1 is as trained.
    """

    model: str = known_by("weights")
    revision: str | None = known_by("weights")
    weight_name: SafetensorsName
    scale: float

    @property
    def weights(self) -> dict[str, Any]:
        """What the recipe knows the file by: a local one by its content."""
        if not Path(resolve(self.model)).is_dir():
            return weights_recipe(self.model, self.revision)
        with self.file().open("rb") as stream:  # not what else lies in that folder
            return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}

    def loaded(self) -> LoadedWeights | None:
        """Return the file that it loads."""
        return LoadedWeights.of(self.model, self.revision, file=self.weight_name)

    def require(self) -> None:
        """Make sure that the file is on this disk; download it from the hub, unless offline.

        Raises:
            UserError: It is not, or the library that applies it is missing.
        """
        if find_spec("peft") is None:
            raise UserError(f"images.lora: needs the package peft; {install_extras('lora')}")
        require(self.model, self.revision, file=self.weight_name)

    def file(self) -> Path:
        """Return the file.

        Raises:
            UserError: As `require`.
        """
        folder = weights_folder(self.model, self.revision, file=self.weight_name)
        return folder / self.weight_name

    def fuse(self, pipeline: Any) -> None:
        """Add the adapter to the pipeline's weights.

        Raises:
            UserError: It does not fit them.
        """
        from safetensors.torch import load_file

        file = self.file()
        try:
            pipeline.load_lora_weights(load_file(file))
            pipeline.fuse_lora(lora_scale=self.scale)
            pipeline.unload_lora_weights()
        except (RuntimeError, ValueError, KeyError) as error:
            reason = reason_of(error)[:300]
            raise UserError(f"images.lora: {file} does not fit this model: {reason}") from error
