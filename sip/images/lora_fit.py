"""Whether an adapter is of this model, known before the weights are loaded.

diffusers passes over the keys of an adapter that it does not know, of kohya's, peft's or its own
format: an adapter of another family would change nothing, and one that fits in part only a part.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from torch import Tensor

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import reason_of
from sip.images.folder import PipelineFolder
from sip.images.quiet import quiet

if TYPE_CHECKING:
    from sip.images.families.base import Family

ENCODERS = ("text_encoder", "text_encoder_2")
FACTOR = re.compile(r"(.+)\.lora_([AB])\..*weight")
OF_PEFT = "base_model.model."  # in the names that peft's `save_pretrained` writes
REMEDY = "set an adapter of this model, or the model that it was trained for"
Shape = tuple[int, ...]


def check_fit(file: Path, folder: PipelineFolder, family: "type[Family]") -> None:
    """Say which part of an adapter is of a model, if not all of it is.

    Raises:
        UserError: None is, or a module has another shape.
    """
    from safetensors.torch import load_file

    try:
        with quiet():
            wanted = _modules(load_file(file), folder, family)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        reason = reason_of(error)[:300]
        raise UserError(f"images.lora: {file} does not fit this model: {reason}") from error
    parts = {name.partition(".")[0] for name in wanted}
    own = {
        f"{part}.{name}": shape
        for part in (family.denoiser_part, *ENCODERS)
        if part in parts and folder.has(part)
        for name, shape in _shapes(folder, part).items()
    }
    strange = [name for name in wanted if name not in own]
    if any(OF_PEFT in name for name in strange):
        raise UserError(
            f"images.lora: must be an adapter as diffusers writes it, got {file}, which peft wrote "
            "(its names hold base_model.model), with its scale in another file; write it with "
            "save_lora_weights of the pipeline"
        )
    if len(strange) == len(wanted):
        first = f", the first {strange[0]}" if strange else ""
        raise UserError(
            f"images.lora: must be an adapter of a {folder.pipeline}, got {file}, of whose "
            f"{len(wanted)} modules none is in the model{first}; {REMEDY}"
        )
    for name, shape in wanted.items():
        if name in own and not _same(shape, own[name]):
            raise UserError(
                f"images.lora: must be an adapter of {folder.path}, got {file}, made for another "
                f"size: {name} is {_product(shape)} there, {_product(own[name])} here; {REMEDY}"
            )
    if strange:
        say(
            "images",
            f"adapter {file.name}: {len(wanted) - len(strange)} of its {len(wanted)} modules are "
            f"in the model; {len(strange)} are not and change nothing, the first {strange[0]}",
        )


def check_words(file: Path, folder: PipelineFolder, family: "type[Family]") -> None:
    """Check that the embeddings of new words are as long as those of a model.

    Raises:
        UserError: They are not, a word has several, or the model has more than one CLIP text
            encoder.
    """
    from safetensors.torch import load_file

    if tuple(family.tokenizers) != ("tokenizer",) or family.denoiser_part != "unet":
        raise UserError(
            f"images.lora: must be an adapter of a {folder.pipeline}, got learnt words in {file}, "
            f"which are for Stable Diffusion 1.x and 2.x; {REMEDY}"
        )
    width = folder.config("text_encoder")["hidden_size"]
    for word, vector in load_file(file).items():
        if vector.shape[-1:] != (width,):
            raise UserError(
                f"images.lora: must be an adapter of {folder.path}, got {file}, made for another "
                f"size: {word} is {tuple(vector.shape)} there, {width} long here; {REMEDY}"
            )
        if (num := vector.numel() // width) != 1:
            raise UserError(
                f"images.lora: must be learnt words of one vector each, got {file} with {num} for "
                f"{word}, of which the first only would be read; set one with a vector a word"
            )


def _modules(
    state: dict[str, Tensor], folder: PipelineFolder, family: "type[Family]"
) -> dict[str, Shape]:
    """Return the modules that an adapter changes, as diffusers names them -> (outputs, inputs)."""
    from diffusers.utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    options: dict[str, Any] = {}
    if family.denoiser_part == "unet":
        options["unet_config"] = SimpleNamespace(**folder.config("unet"))
    given = getattr(diffusers, family.pipelines[0]).lora_state_dict(dict(state), **options)
    named = given[0] if isinstance(given, tuple) else given
    modules: dict[str, list[int]] = {}
    for part in (family.denoiser_part, *ENCODERS, ""):
        start = f"{part}." if part else ""
        keys = {key.removeprefix(start): named[key] for key in named if key.startswith(start)}
        named = {key: value for key, value in named.items() if not key.startswith(start)}
        if part in ENCODERS and keys:
            keys = convert_state_dict_to_peft(convert_state_dict_to_diffusers(keys))
            if not hasattr(skeleton(folder, part), "text_model"):
                keys = {key.removeprefix("text_model."): value for key, value in keys.items()}
        elif part and keys and not any("lora_A" in key for key in keys):
            keys = convert_unet_state_dict_to_peft(keys)
        for key, value in keys.items():
            match = FACTOR.fullmatch(key)
            if match is None:
                if "alpha" not in key:
                    modules.setdefault(start + key, [0, 0])
                continue
            shape = modules.setdefault(start + match[1], [0, 0])
            shape[match[2] == "A"] = value.shape[match[2] == "A"]
    return {name: tuple(shape) for name, shape in modules.items()}


def _shapes(folder: PipelineFolder, part: str) -> Mapping[str, Shape]:
    """Return the modules of a part that have weights -> (outputs, inputs, ...)."""
    return {
        name: tuple(module.weight.shape)
        for name, module in skeleton(folder, part).named_modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    }


def skeleton(folder: PipelineFolder, part: str) -> Any:
    """Return a part's network without memory for its weights; None if the model has no such."""
    if not folder.has(part):
        return None
    library, kind = folder.index[part]
    with torch.device("meta"):
        if library == "diffusers":
            return getattr(diffusers, kind).from_config(folder.config(part))
        made = getattr(transformers, kind)
        return made(made.config_class.from_pretrained(folder.path / part))


def _same(shape: Shape, own: Shape) -> bool:
    return all(number in (0, there) for number, there in zip(shape, own, strict=False))


def _product(shape: Shape) -> str:
    return " x ".join(map(str, shape[:2]))
