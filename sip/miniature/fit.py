"""The training loop that all miniature models share."""

import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sip.common.progress import progress

SAVE_EVERY = 500  # steps
EMA_FROM = 0.25  # share of the steps before the average begins


def fit(
    name: str,
    model: nn.Module,
    loss: Callable[[Tensor, random.Random], Tensor],
    num_pictures: int,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    ema_decay: float,
    checkpoint: Path,
    weight_decay: float = 0.01,
) -> float:
    """Train `model` in place with AdamW, 5 % warm-up and cosine; return the mean last loss.

    All random numbers of a step are a function of seed and step, so a run that was killed goes on
    from `checkpoint` as if it had not been.

    Args:
        name: Shown beside the progress bar.
        model: What is trained; holds the averaged weights afterwards.
        loss: Takes row numbers (B,), int64, and a random number generator; returns a scalar.
        num_pictures: Rows to draw batches from, with replacement.
        steps: Optimiser steps.
        batch_size: Rows a step.
        lr: Peak learning rate.
        seed: Of the order of the rows and of everything random in `loss`.
        ema_decay: Decay of the moving average a step.
        checkpoint: File that is saved every 500 steps and removed at the end.
        weight_decay: Of matrices; vectors have none.
    """
    model.train()
    optimizer = torch.optim.AdamW(_groups(model.parameters(), weight_decay), lr=lr, fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
    start = _resume(checkpoint, model, average, optimizer)
    recent: list[float] = []
    with progress(name, total=steps, unit="step") as bar:
        bar.update(start)
        for step in range(start, steps):
            rng = random.Random(seed * 1_000_003 + step)
            torch.manual_seed(rng.getrandbits(62))
            for group in optimizer.param_groups:
                group["lr"] = lr * _rate(step, steps)
            value = loss(torch.randint(num_pictures, (batch_size,)), rng)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step >= EMA_FROM * steps:
                average.update_parameters(model)
            recent = [*recent[-199:], value.item()]
            bar.update(1, loss=f"{sum(recent) / len(recent):.4f}")
            if (step + 1) % SAVE_EVERY == 0:
                _save(checkpoint, step + 1, model, average, optimizer)
    model.load_state_dict(average.module.state_dict())
    model.eval()
    checkpoint.unlink(missing_ok=True)
    return sum(recent) / max(1, len(recent))


def _rate(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step."""
    warmup = max(1, steps // 20)
    return min((step + 1) / warmup, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _save(
    path: Path, step: int, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    part = path.with_suffix(".part")
    states = [part_.state_dict() for part_ in (model, average, optimizer)]
    torch.save({"step": step, "states": states}, part)
    part.replace(path)


def _resume(
    path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    targets: tuple[Any, ...] = (model, average, optimizer)
    for target, state in zip(targets, saved["states"], strict=True):
        target.load_state_dict(state)
    return saved["step"]


def _groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict]:
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
