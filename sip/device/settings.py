"""How the work is done on this machine; nothing in here changes a result beyond rounding."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sip.core.errors import UserError

ATTENTION = ("auto", "math", "efficient", "flash", "cudnn")


@dataclass(frozen=True)
class Runtime:
    """Device settings, as `conf/runtime` states them.

    Attributes:
        device: A torch device, such as "cpu" or "cuda:0"; "auto" is resolved before.
        num_threads: torch's CPU threads; None leaves it to torch.
        num_workers: Threads that read, encode and write pictures beside the device.
        channels_last: Lay the convolutions' tensors out as NHWC.
        compile: Compile the U-Net and the VAE with `torch.compile`, for fixed shapes.
        attention: One of `ATTENTION`, torch's attention kernels; "auto" lets torch choose.
        tf32: Let float32 products on a GPU use TF32.
        vae_slicing: Decode picture by picture, which needs less memory.
    """

    device: str
    num_threads: int | None
    num_workers: int
    channels_last: bool
    compile: bool
    attention: str
    tf32: bool
    vae_slicing: bool

    def __post_init__(self) -> None:
        for name in ("channels_last", "compile", "tf32", "vae_slicing"):
            if type(getattr(self, name)) is not bool:
                came = getattr(self, name)
                raise UserError(f"runtime.{name}: expected true or false, came {came!r}")
        threads = self.num_threads
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UserError(f"runtime.num_threads: expected null, or 1 or more, came {threads!r}")
        if self.attention not in ATTENTION:
            raise UserError(
                f"runtime.attention: expected one of {', '.join(ATTENTION)}, came "
                f"{self.attention!r}"
            )
        if type(self.num_workers) is not int or self.num_workers < 1:
            raise UserError(f"runtime.num_workers: expected 1 or more, came {self.num_workers!r}")

    @classmethod
    def cpu(cls, **changes: Any) -> "Runtime":
        """Return plain settings for the CPU."""
        plain = cls("cpu", None, 2, False, False, "auto", False, False)
        return replace(plain, **changes)

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Runtime":
        """Return the settings of the configuration's node `runtime`.

        Raises:
            UserError: A value is wrong, or there is no such GPU.
        """
        values = {field.name: node[field.name] for field in fields(cls)}
        return cls(**{**values, "device": device(values["device"])})


def device(choice: str) -> str:
    """Return the torch device that `runtime.device` names.

    Raises:
        UserError: A GPU is asked for and there is none.
    """
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(choice)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"runtime.device: expected auto, cpu, cuda or cuda:0 and so on, came {choice!r}"
        ) from error
    if choice.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            f"runtime.device={choice}: torch {torch.__version__} sees no GPU; use runtime.device="
            "cpu, or install torch with the CUDA version of your driver"
        )
    return choice


def set_threads(runtime: Runtime) -> None:
    """Let torch use `num_threads` CPU threads, where the settings name a number."""
    if runtime.num_threads is not None:
        import torch

        torch.set_num_threads(runtime.num_threads)
