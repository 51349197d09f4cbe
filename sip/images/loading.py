"""Model folders to loaded pipelines: safetensors only, no network, no code from the folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from sip.core.progress import say
from sip.images import patches
from sip.images.autoencoder import Autoencoder
from sip.images.control_weights import KIND, ControlWeights
from sip.images.folder import PipelineFolder
from sip.images.quantization import quantize
from sip.images.quiet import quiet
from sip.images.settings import DiffusionSettings
from sip.weights.checksums import check_hub
from sip.weights.layout import CHECKER, model_folders, variant_of, weight_files
from sip.weights.safety import OWN, plain_load_errors, require_filled


def load_pipeline(settings: DiffusionSettings) -> Any:
    """Return diffusers' pipeline, on the CPU.

    Raises:
        UserError: The folder does not hold what is asked for, or what was downloaded.
    """
    folder, family = settings.folder, settings.family
    without: dict[str, Any] = {part: None for part in family.optional if not folder.has(part)}
    if family.can_be_screened and not settings.safety_checker:
        without.update(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        say("images", "the safety checker is off: generated images are not screened")
    own = without | ({"vae": None} if settings.autoencoder else {})
    check_hub(folder.path, settings.variant, tuple(own))
    dtype = getattr(torch, settings.dtype)
    with quiet():
        models = load_models(folder, dtype, settings.variant, own)
        if settings.autoencoder:
            models["vae"] = load_autoencoder(settings.autoencoder, dtype)
        with plain_load_errors(f"images.model: {folder.path}"):
            pipeline = getattr(diffusers, family.pipelines[0]).from_pretrained(
                folder.path, dtype=dtype, use_safetensors=True, **models, **without
            )
        if settings.adapter:
            settings.adapter.fuse(pipeline)
        if settings.quantization:
            quantize(pipeline, settings.quantization)
    if settings.vae_tiling:
        pipeline.vae.enable_tiling()
    return pipeline


def load_autoencoder(autoencoder: Autoencoder, dtype: torch.dtype) -> Any:
    """Return an autoencoder, on the CPU.

    Raises:
        UserError: Its weights do not fill it, or are not what was downloaded.
    """
    return _load_part(autoencoder.kind, autoencoder.folder(), "images.vae", dtype)


def load_controlnet(control: ControlWeights, dtype: str) -> Any:
    """Return a ControlNet, on the CPU.

    Args:
        control: Which one.
        dtype: Type of the loaded weights.

    Raises:
        UserError: Its weights do not fill it, or are not what was downloaded.
    """
    dtype_of = getattr(torch, dtype)
    with quiet():
        return _load_part(KIND, control.folder(), "images.controlnet", dtype_of, control.variant)


def _load_part(
    kind: str, folder: Path, key: str, dtype: torch.dtype, variant: str | None = None
) -> Any:
    """Return a model of a class of diffusers, from a folder of its own, on the CPU."""
    check_hub(folder, variant)
    with plain_load_errors(f"{key}: {folder}"):
        model, info = getattr(diffusers, kind).from_pretrained(
            folder, dtype=dtype, variant=variant, use_safetensors=True, output_loading_info=True
        )
    require_filled(folder, kind, info)
    return model


def load_stock(kind: Any, folder: PipelineFolder, dtype: str, variant: str | None) -> Any:
    """Return a pipeline of a class of diffusers, on the CPU, without a safety checker.

    Raises:
        UserError: The folder does not hold what the class needs, or what was downloaded.
    """
    without: dict[str, Any] = {}
    if "safety_checker" in folder.index:
        without = {**dict.fromkeys(CHECKER), "requires_safety_checker": False}
        say("images", "the safety checker is off: generated images are not screened")
    check_hub(folder.path, variant, tuple(without))
    with quiet():
        models = load_models(folder, getattr(torch, dtype), variant, without)
        with plain_load_errors(f"images.model: {folder.path}"):
            return kind.from_pretrained(
                folder.path,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                **models,
                **without,
            )


def load_models(
    folder: PipelineFolder, dtype: torch.dtype, variant: str | None, without: Mapping[str, Any]
) -> dict[str, Any]:
    """Return part -> model; the pipeline would fill what a file lacks with random numbers.

    Raises:
        UserError: The weights do not fill a model: they are another's, or of a newer library.
    """
    models: dict[str, Any] = {}
    for part in model_folders(folder.index, tuple(without)):
        library, kind = folder.index[part]
        path = folder.path / part
        with plain_load_errors(f"images.model: {path}"):
            places = {"diffusers": diffusers, "transformers": transformers, OWN[0]: patches}
            place = places.get(library) or getattr(diffusers.pipelines, library)
            files = weight_files([file.name for file in path.iterdir()], variant)
            models[part], info = getattr(place, kind).from_pretrained(
                path,
                dtype=dtype,
                variant=variant if any(map(variant_of, files)) else None,
                use_safetensors=True,
                output_loading_info=True,
            )
        require_filled(path, kind, info)
    return models
