"""What the card can do: the rate of a large matrix product, measured."""

import time

import torch

SIZE, TINY_SIZE = 8192, 512
WARM_UP, REPEATS = 3, 10


def measured_tflops(device: torch.device, tiny: bool) -> float:
    """Return TFLOP/s of a square product: on a GPU bfloat16 at 8192, in the tiny form less."""
    size = TINY_SIZE if tiny else SIZE
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    first, second = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    for _ in range(WARM_UP):
        first @ second
    _wait(device)
    began = time.perf_counter()
    for _ in range(REPEATS):
        first @ second
    _wait(device)
    return REPEATS * 2 * size**3 / (time.perf_counter() - began) / 1e12


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
