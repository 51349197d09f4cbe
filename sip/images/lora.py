"""Low-rank adapters, fused into the weights while they are loaded: no cost while drawing."""

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.weights.layout import Parts
from sip.weights.source import require, resolve, weights_folder, weights_recipe

KEYS = ("model", "revision", "weight_name", "scale")


class Lora:
    """An adapter's file, in a local folder or in the hub's cache.

    Args:
        settings: `model` (folder or hub name), `revision` (None for folders), `weight_name` (of the
            safetensors file in it), `scale` (1 is as trained).

    Raises:
        UserError: A key is missing or unknown, or the file is no safetensors.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if set(settings) != set(KEYS):
            raise UserError(
                f"images.lora: expected null or the keys {', '.join(KEYS)}, came "
                f"{', '.join(settings) or 'none'}"
            )
        self.model = str(settings["model"])
        self.revision = settings["revision"]
        self.weight_name = str(settings["weight_name"])
        self.scale = float(settings["scale"])
        Parts(file=self.weight_name)  # refuses what is not safetensors

    def identity(self) -> dict:
        """Return what tells this adapter from others: a local one is known by its content."""
        if Path(resolve(self.model)).is_dir():
            with self.file().open("rb") as stream:  # not what else lies in that folder
                weights = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
        else:
            weights = weights_recipe(self.model, self.revision)
        return {**weights, "weight_name": self.weight_name, "scale": self.scale}

    def require(self) -> None:
        """Make sure that the file is on this disk; download it from the hub, unless offline.

        Raises:
            UserError: It is not, or the library that applies it is missing.
        """
        if find_spec("peft") is None:
            raise UserError(
                "images.lora: needs the package peft; get it with: "
                "pip install 'sip-augmentation[lora]'"
            )
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
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"images.lora: {file} does not fit this model: {reason}") from error
