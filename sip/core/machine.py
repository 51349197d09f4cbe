"""What a result's rounding depends on: processor, instruction set, number of threads.

The same run has other bits on another instruction set, and a training from scratch on few images
amplifies them to points of accuracy.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# Environment variables that limit the instruction set, of torch's kernels and of oneDNN's.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
CPUINFO = Path("/proc/cpuinfo")  # Linux


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What computed a run.

    Attributes:
        processor: Model of the CPU.
        instructions: Instruction set that torch's kernels use, such as "AVX512".
        limits: Environment variable -> value, of those of `LIMITS` that are set.
        threads: Threads of torch within an operation.
        accelerator: Name of the GPU; None if none was used.
    """

    processor: str
    instructions: str
    limits: dict[str, str]
    threads: int
    accelerator: str | None = None

    def line(self) -> str:
        """Return the machine in one line."""
        parts = [self.accelerator] if self.accelerator else []
        parts += [self.processor, self.instructions]
        parts += [f"{name}={value}" for name, value in sorted(self.limits.items())]
        return ", ".join([*parts, f"{self.threads} thread{'s' * (self.threads != 1)}"])


def this_machine() -> Machine:
    """Return what this process computes with."""
    import torch

    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    return Machine(
        processor=processor(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        limits={name: os.environ[name] for name in LIMITS if os.environ.get(name)},
        threads=torch.get_num_threads(),
        accelerator=torch.cuda.get_device_name() if used else None,
    )


def processor() -> str:
    """Return the model of the CPU; its architecture if the system does not tell."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
