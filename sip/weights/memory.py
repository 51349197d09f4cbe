"""What a model needs of a device's memory, by arithmetic, before it is loaded or downloaded.

Parameters are counted in the headers of the weight files; where only the configuration is on this
disk, in the networks that it describes, built on torch's "meta" device, which holds no numbers;
else they are those of the published architecture.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sip.core.errors import UserError
from sip.weights.hub import canonical
from sip.weights.layout import CONFIG, Parts, files_of, needed_weights
from sip.weights.missing import PARAMETERS
from sip.weights.safety import require_no_code
from sip.weights.source import DEFAULT_REVISION, resolve, weights_folder

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of a number


@dataclass(frozen=True)
class Memory:
    """The memory of a loaded model.

    Attributes:
        model: Folder or hub name.
        parameters: Their number; None if nobody knows.
        dtype: Type that they are loaded in.
    """

    model: str
    parameters: float | None
    dtype: str

    def line(self) -> str:
        """Return model, parameters and GiB in one line."""
        name = Path(self.model).name
        if self.parameters is None:
            return f"{name}: size unknown before its weights are on this disk"
        size = gibibytes(self.parameters * WIDTHS[self.dtype])
        billions, millions = self.parameters / 1e9, self.parameters / 1e6
        number = f"{billions:.1f} B" if billions >= 1 else f"{millions:.0f} M"
        return f"{name}: {number if millions >= 1 else '< 1 M'} parameters, {size} in {self.dtype}"


@runtime_checkable
class NeedsMemory(Protocol):
    """A component whose weights are loaded onto a device."""

    def memory(self) -> Memory:
        """Return what the weights need of the device's memory."""


def gibibytes(num_bytes: float) -> str:
    """Return bytes as GiB, or MiB if there are few."""
    number = num_bytes / 2**30
    if number < 0.1:
        return f"{num_bytes / 2**20:.2g} MiB"
    return f"{number:.1f} GiB" if number >= 1 else f"{number:.2g} GiB"


def memory_of(
    model: str,
    revision: str | None,
    dtype: str,
    variant: str | None = None,
    without: tuple[str, ...] = (),
    count: Callable[[Path], float] | None = None,
) -> Memory:
    """Return the memory of a model's weights.

    Args:
        model: Folder or hub name.
        revision: Revision of the hub model; None for its newest.
        dtype: Type that they are loaded in.
        variant: Variant of the weight files, such as "fp16".
        without: Components of a diffusers pipeline that are not loaded.
        count: Returns the parameters of the model that a folder's configuration describes.
    """
    try:
        folder = weights_folder(model, revision, variant, without)
        parts = Parts(variant, without)
        files = needed_weights(folder, files_of(folder), parts)
        return Memory(model, sum(stored_parameters(folder / file) for file in files), dtype)
    except UserError:  # not there, or not whole: `require` says so
        pass
    config = cached_config(model, revision)
    if config is not None and count is not None:
        with suppress(UserError, ValueError):  # `require` says that it is refused, or not known
            return Memory(model, count(config.parent), dtype)
    known = PARAMETERS.get(canonical(model))
    return Memory(model, known and known[0] * 1e6, dtype)


def cached_config(model: str, revision: str | None) -> Path | None:
    """Return the configuration of a model, if this disk has it, with or without its weights."""
    file = Path(resolve(model)) / CONFIG
    if file.is_file():
        return file
    if Path(resolve(model)).is_dir() or model.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(canonical(model), CONFIG, revision=revision or DEFAULT_REVISION)
    return Path(found) if isinstance(found, str) else None


def stored_parameters(file: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header."""
    from math import prod

    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        return sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118


def described_parameters(folder: Path, model_class: str) -> int:
    """Return the parameters of the network that a folder's configuration describes.

    Args:
        folder: Holds `config.json`.
        model_class: A class of transformers, an `Auto` one too.

    Raises:
        UserError: The folder asks for code of its own, which transformers would offer to run.
        ValueError: transformers does not know the network.
    """
    require_no_code(folder)
    import torch
    import transformers

    kind: Any = getattr(transformers, model_class)
    build = getattr(kind, "from_config", None) or kind._from_config
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with torch.device("meta"):
            network = build(transformers.AutoConfig.from_pretrained(folder))
    finally:
        logging.set_verbosity(before)
    return sum(parameter.numel() for parameter in network.parameters())
