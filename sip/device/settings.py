"""Runtime settings. They affect speed, not results (up to rounding)."""

from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any, Literal

from sip.core.component import component, refuse
from sip.core.errors import ValueRefusedError
from sip.core.ranges import Count
from sip.core.text import counted

Attention = Literal["auto", "math", "efficient", "flash", "cudnn"]
Compile = bool | Literal["blocks", "graphs"]
Size = Count | Literal["auto"]


@component
class BatchSizes:
    """Images at a time; "auto" is found by trial and remembered.

    Args:
        captions, scores, images: Batch size of each stage.
    """

    captions: Size = 32
    scores: Size = 64
    images: Size = 25


@component
class Devices:
    """Devices that share the work, as Lightning's Trainer takes them (`conf/trainer`).

    Args:
        devices: Devices on each machine; "auto" takes all GPUs.
        num_nodes: Machines.
        strategy: Lightning's strategy for the classifier's training.
    """

    devices: Size = 1
    num_nodes: Count = 1
    strategy: Literal["auto", "ddp"] = "auto"

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Devices":
        """Return the settings of the node `trainer` of the configuration.

        Raises:
            UserError: A value is wrong.
        """
        return _of(cls, "trainer", node)

    @property
    def several(self) -> bool:
        """Whether the settings name more than one device."""
        return self.devices != 1 or self.num_nodes > 1

    def num_processes(self, device: str) -> int:
        """Return how many processes work, on all machines together."""
        return self.num_local(device) * self.num_nodes

    def num_local(self, device: str) -> int:
        """Return how many processes work on one machine."""
        if self.devices == "auto":
            import torch

            gpus = 0 if device == "cpu" else torch.cuda.device_count()
            return max(1, gpus)
        return self.devices


@component
class Runtime:
    """How the work is done on this machine (`conf/runtime`).

    Args:
        device: A torch device, such as "cpu" or "cuda:0"; "auto" is resolved before.
        num_threads: torch's CPU threads; None leaves it to torch.
        num_workers: Threads that read, encode and write images next to the device.
        channels_last: Lay out the tensors of convolutions as NHWC.
        compile: Compile denoiser and VAE with `torch.compile`, for fixed shapes; "blocks": of the
            denoiser only the blocks that repeat, which compiles several times faster; "graphs":
            with CUDA graphs of the denoiser, which a GPU starts at once.
        attention: torch's attention kernels; "auto" lets torch choose.
        tf32: Let float32 products on a GPU use TF32, of generators and of a classifier in training.
        vae_slicing: Decode image by image, which needs less memory.
        batch_size: Images at a time.
        shard_size: Rows that are committed together.
    """

    device: str
    num_threads: Count | None
    num_workers: Count
    channels_last: bool
    compile: Compile
    attention: Attention
    tf32: bool
    vae_slicing: bool
    batch_size: BatchSizes = field(default_factory=BatchSizes)
    shard_size: Count = 512

    @classmethod
    def cpu(cls, **changes: Any) -> "Runtime":
        """Return plain settings for the CPU."""
        return replace(cls("cpu", None, 2, False, False, "auto", False, False), **changes)

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Runtime":
        """Return the settings of the node `runtime` of the configuration.

        Raises:
            UserError: A value is wrong, or there is no such GPU.
        """
        sizes = _of(BatchSizes, "runtime.batch_size", node["batch_size"])
        choice = device(node["device"])
        return _of(cls, "runtime", {**node, "device": choice, "batch_size": sizes})


def _of(kind: Any, place: str, node: Mapping[str, Any]) -> Any:
    """Return a component with those values of a node that it has."""
    try:
        return kind(**{item.name: node[item.name] for item in fields(kind)})
    except ValueRefusedError as error:
        raise error.below(place) from None


def device(choice: str, key: str = "runtime.device") -> str:
    """Return the torch device that a key of the configuration names.

    Raises:
        UserError: A GPU is asked for and there is none.
    """
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(choice).type if isinstance(choice, str) else ""
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise refuse(key, "auto, cpu, cuda or cuda:0 and so on", choice)
    if absent(choice):
        seen, fix = "no GPU", f"use {key}=cpu, or install torch for the CUDA version of your driver"
        if torch.cuda.is_available():
            fix = "they are numbered from 0"
            seen = counted(torch.cuda.device_count(), "GPU")
        rule = "a device that torch sees"
        raise refuse(key, rule, choice, f"torch {torch.__version__} sees {seen}: {fix}")
    return choice if kind == "cuda" else kind


def absent(choice: str) -> bool:
    """Return whether a device is a GPU that this machine has not, which a plan can do without."""
    import torch

    kind, _, index = choice.partition(":")
    if kind != "cuda":
        return False
    if not torch.cuda.is_available():
        return True
    return index.isdecimal() and int(index) >= torch.cuda.device_count()


def set_threads(runtime: Runtime) -> None:
    """Let torch use `num_threads` CPU threads, if the settings name a number."""
    if runtime.num_threads is not None:
        import torch

        torch.set_num_threads(runtime.num_threads)
