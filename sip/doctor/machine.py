"""The machine: device, memory, and the disks that SIP writes to."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sip.core import object_cache
from sip.core.errors import UserError
from sip.core.memory import available
from sip.core.threads import num_cores
from sip.core.uri import place_of
from sip.device.settings import device as chosen_device
from sip.doctor.base import MISSING, NOTE, OK, Finding

if TYPE_CHECKING:
    from omegaconf import DictConfig

DRIVER = Path("/proc/driver/nvidia/version")
GIB = 2**30
LEAST_MEMORY = 2.0  # GiB; a round number of ours, not a measurement
LEAST_DISK = 1.0  # GB; as round: the first run writes well below it


def device(config: "DictConfig") -> Iterator[Finding]:
    """Yield what torch computes on."""
    import torch

    wanted, refused = str(config.runtime.device), ""
    try:
        chosen_device(wanted)
    except UserError as error:
        refused = str(error)
    cores = f"{num_cores()} CPU cores"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            free, total = torch.cuda.mem_get_info(number)
            sixteen = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
            yield Finding(
                "device",
                OK,
                f"cuda:{number}: {card.name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, "
                f"{sixteen}; CUDA {torch.version.cuda}, {cores}",
            )
        if refused:
            yield Finding("device", MISSING, refused)
        return
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs only"
    text = f"cpu: {cores}; torch {torch.__version__} is built for {built} and sees no GPU"
    if wanted.startswith("cuda"):
        text += f", and runtime.device={wanted} asks for one"
        yield Finding("device", MISSING, text, "python -m sip.doctor runtime.device=auto")
    elif refused:
        yield Finding("device", MISSING, refused)
    elif DRIVER.exists() or shutil.which("nvidia-smi"):
        text += ", though there is a driver: install torch for the CUDA version that it names"
        yield Finding("device", NOTE, text, "nvidia-smi")
    elif config.profile.dtype != "float32":
        text += f"; profile={config.profile.name} is made for one"
        yield Finding("device", NOTE, text, "python -m sip.doctor profile=embedded")
    else:
        yield Finding("device", OK, text)


def memory() -> Iterator[Finding]:
    """Yield how much memory there is, in this container or job."""
    import psutil

    free, total = available() / GIB, psutil.virtual_memory().total / GIB
    text = f"{free:.1f} GiB free, the machine has {total:.1f}"
    if free < LEAST_MEMORY:
        text += f"; below {LEAST_MEMORY:g} even the smallest run may fail: end other programs"
        yield Finding("memory", NOTE, text)
    else:
        yield Finding("memory", OK, text)


def disks(config: "DictConfig") -> Iterator[Finding]:
    """Yield the folders of `paths`: whether they can be written, and what is free there."""
    paths = {key: Path(str(config.paths[key])) for key in ("runs", "data")}
    store = place_of(str(config.paths.store))
    if isinstance(store, Path):
        paths = {"store": store, **paths}
    else:
        yield Finding("paths.store", NOTE, f"{store}: an object store, not asked")
        object_cache.configure(config.paths)
        paths["cache"] = object_cache.folder()
    for key, path in paths.items():
        yield folder(f"paths.{key}", path, f"paths.{key}=/a/folder/of/yours")


def caches() -> Iterator[Finding]:
    """Yield the cache folders of the libraries, which hold what was downloaded."""
    import torch
    from huggingface_hub import constants

    yield folder("hub cache", Path(constants.HF_HUB_CACHE), "export HF_HOME=/a/folder/of/yours")
    yield folder("torch cache", Path(torch.hub.get_dir()), "export TORCH_HOME=/a/folder/of/yours")


def folder(name: str, path: Path, remedy: str) -> Finding:
    """Return what there is to say of a folder that SIP writes to.

    Args:
        name: What it is for.
        path: It may not be there yet.
        remedy: What chooses another one.
    """
    place = path.absolute()
    there = place
    while not there.exists():
        there = there.parent
    state = "" if there == place else ", created when needed"
    if not there.is_dir():
        return Finding(name, MISSING, f"{place}: {there} is a file, not a folder", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(name, MISSING, f"{place}: {there} is not writable", remedy)
    free = shutil.disk_usage(there).free / 1e9
    text = f"{place}{state}; {free:.1f} GB free"
    return Finding(name, NOTE, text, remedy) if free < LEAST_DISK else Finding(name, OK, text)
