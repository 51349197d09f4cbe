"""Products of float32 on a GPU: with TF32 where `runtime.tf32` allows it, else in full.

The setting is torch's, of the whole process. So whatever computes sets it, and no result depends on
what ran before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sip.core.component import refuse
from sip.device.settings import Runtime


def set_precision(runtime: Runtime) -> None:
    """Let products on a GPU use TF32, or not: of a generator, and of a classifier's training."""
    if runtime.device.startswith("cuda"):
        torch.set_float32_matmul_precision("high" if runtime.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = runtime.tf32


def require_mixed(key: str, precision: str, device: str) -> None:
    """Refuse float16 for a training on a CPU, in whose place Lightning would take bfloat16.

    Args:
        key: Key that sets the precision.
        precision: As Lightning names it.
        device: A torch device.

    Raises:
        UserError: It is asked for.
    """
    if precision == "16-mixed" and torch.device(device).type == "cpu":
        fix = "Lightning would train in bfloat16"
        raise refuse(key, "32-true or bf16-mixed on a CPU", precision, fix)


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute products without TF32, whatever was set before; what is stored is computed so."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
