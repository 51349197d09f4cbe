"""Adapters: low-rank ones, fused into the weights when they are loaded, and learnt words.

Neither costs anything during the generation.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from sip.core.component import Component, component, known_by, refuse
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.text import reason_of
from sip.images.adapted import RECORD, AdapterRecord
from sip.weights.loaded import LoadedWeights
from sip.weights.source import require, resolve, weights_folder, weights_recipe

SafetensorsName = Annotated[
    str, Field(pattern=r".\.safetensors$", description="a name that ends in .safetensors")
]
FILE = "pytorch_lora_weights.safetensors"  # diffusers' name
LEARNT_WORDS = "learned_embeds.safetensors"  # likewise


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

    def __post_init__(self) -> None:
        """Refuse a scale of learnt words."""
        if self.holds_words and self.scale != 1:
            raise refuse("scale", f"1 for {LEARNT_WORDS}", self.scale)

    @classmethod
    def of(cls, folder: str) -> Self:
        """Return the adapter of a run of `sip.adapt`, or the one file that diffusers names so."""
        record = AdapterRecord.read(Path(resolve(folder)))
        return cls(folder, None, FILE if record is None else record.file, 1.0)

    @cached_property
    def record(self) -> AdapterRecord | None:
        """What `sip.adapt` says of the adapter; None if it is another program's."""
        return AdapterRecord.read(Path(resolve(self.model)))

    @property
    def holds_words(self) -> bool:
        """Whether it is embeddings of new words, and not updates of weights."""
        return self.weight_name == LEARNT_WORDS

    @property
    def method(self) -> str:
        """The method of `sip.adapt` that made it, or whose files another program's are like."""
        if self.record is not None:
            return self.record.method
        return "textual_inversion" if self.holds_words else "lora"

    @property
    def names(self) -> Mapping[str, str]:
        """Class name -> what the text encoder reads in its place."""
        return {} if self.record is None else self.record.names

    @property
    def weights(self) -> dict[str, Any]:
        """What the recipe knows the file by: a local one by its content, and the names with it."""
        if not Path(resolve(self.model)).is_dir():
            return weights_recipe(self.model, self.revision)
        with self.file().open("rb") as stream:  # not what else lies in that folder
            content = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
        return content | ({"names": dict(self.names)} if self.names else {})

    def loaded(self) -> LoadedWeights | None:
        """Return the file that it loads."""
        return LoadedWeights.of(self.model, self.revision, file=self.weight_name)

    def require(self) -> None:
        """Make sure that the file is on this disk; download it from the hub, unless offline.

        Raises:
            UserError: It is not, or the library that applies it is missing.
        """
        if find_spec("peft") is None and not self.holds_words:
            raise UserError(f"images.lora: needs the package peft; {install_extras('lora')}")
        require(self.model, self.revision, file=self.weight_name)

    def require_base(
        self, base: Mapping[str, Any], model: str, parameters: float | None = None
    ) -> None:
        """Refuse an adapter that `sip.adapt` made of another model.

        Args:
            base: What the recipe knows the model by that it is to be used with.
            model: The same model, as it is configured.
            parameters: Its parameters; None if nobody knows.

        Raises:
            UserError: It is one.
        """
        if self.record is not None and not self.record.is_of(base, parameters):
            made_of = self.record.model
            fix = f"set images.model={made_of}"
            if made_of == model:
                fix = f"its weights have changed since: adapt it again, as {RECORD} says"
            raise UserError(
                f"images.lora: must be an adapter of {model}, got {self.model}, which was adapted "
                f"from {'other weights of ' * (made_of == model)}{made_of}; {fix}"
            )

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
            if self.holds_words:
                words = [{word: vector} for word, vector in load_file(file).items()]
                pipeline.load_textual_inversion(words)
                return
            pipeline.load_lora_weights(load_file(file))
            pipeline.fuse_lora(lora_scale=self.scale)
            pipeline.unload_lora_weights()
        except (RuntimeError, ValueError, KeyError) as error:
            reason = reason_of(error)[:300]
            raise UserError(f"images.lora: {file} does not fit this model: {reason}") from error
