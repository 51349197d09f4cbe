"""The training loop that all models of a stack share."""

import math
import random
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sip.core import interrupt
from sip.core.errors import DamagedError, UserError
from sip.core.files import atomic_file
from sip.core.progress import progress, say
from sip.core.text import counted
from sip.stack.curves import Curve
from sip.stack.sizes import Training
from sip.stack.work import OutOfTimeError, Work

LOG_EVERY = 25  # steps
NUM_RECENT = 200  # steps that the stated loss is the mean of


def fit(
    name: str,
    model: nn.Module,
    loss: Callable[[Tensor, random.Random], Tensor],
    num_rows: int,
    *,
    training: Training,
    seed: int,
    work: Work,
    show: Callable[[nn.Module], None] | None = None,
) -> dict[str, Any]:
    """Train `model` in place with AdamW, 5 % warm-up and cosine; report it.

    All random numbers of a step are a function of seed and step, and a checkpoint holds weights,
    average and the optimiser's state: a killed run resumes exactly. A checkpoint on the way to
    another number of steps goes on too, with the learning rate of the present one.

    Args:
        name: Name of the part, and of its progress bar, curve and checkpoint.
        model: What is trained, on `work.device`; holds the averaged weights afterwards.
        loss: Takes row numbers (B,), int64, on the CPU, and a random number generator; returns a
            scalar. Runs under `work.autocast`.
        num_rows: Rows to draw batches from, with replacement.
        training: Steps, batch size, rates.
        seed: Seed of the order of the rows and of everything random in `loss`.
        work: Device, precision, checkpoints, time.
        show: Saves samples of the averaged model; called every `work.samples_every` seconds.

    Returns:
        Steps, mean loss of the last ones, seconds of all starts, parameters, device, and under
        "changed" where the number of steps changed on the way.

    Raises:
        OutOfTimeError: The time limit was reached; the checkpoint is written.
        Stopped: A stop was asked for; likewise.
        UserError: The checkpoint is damaged, beyond the last step or of another network, or the
            loss is not finite.
    """
    model.train()
    groups = _groups(model.parameters(), training.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=training.lr, fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.ema_decay))
    checkpoint = work.folder / f"{name}.ckpt"
    targets: tuple[Any, ...] = (model, average, optimizer)
    saved = _resume(checkpoint, targets, training.steps, work.device)
    start, recent, before = saved["step"], saved["recent"], saved["seconds"]
    changed: list[str] = saved["changed"]
    begun = saved_at = shown_at = time.monotonic()
    bar = progress(name, training.steps, "step", initial=start)
    with bar, Curve(name, start, work) as curve:
        for step in range(start, training.steps):
            rng = random.Random(seed * 1_000_003 + step)
            torch.manual_seed(rng.getrandbits(62))
            lr = training.lr * _rate(step, training.steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            rows = torch.randint(num_rows, (training.batch_size,))
            with work.autocast():
                value = loss(rows, rng)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step >= int(training.ema_from * training.steps):
                average.update_parameters(model)
            recent = [*recent[1 - NUM_RECENT :], value.detach()]
            bar.update(1)
            done, now = step + 1, time.monotonic()
            if done % LOG_EVERY == 0 or done == training.steps:
                mean = _mean(recent)
                if not math.isfinite(mean):
                    raise UserError(
                        f"{name}: the loss is not finite after step {done}; train it again from "
                        f"the start (again=[{name}]) with a lower learning rate "
                        "(sip/stack/sizes.py) or precision=float32"
                    )
                curve.add(done, mean, lr, before + now - begun)
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            stop = interrupt.stop_requested() or work.is_late
            if done < training.steps and (stop or now - saved_at >= work.save_every):
                state = {"step": done, "steps": training.steps, "seconds": before + now - begun}
                state |= {"recent": torch.stack(recent), "changed": changed}
                _save(checkpoint, targets, state)
                saved_at = now
                interrupt.raise_if_stopped()
                if work.is_late:
                    raise OutOfTimeError(f"{name}: {done} of {training.steps} steps")
            if show and now - shown_at >= work.samples_every:
                _show(show, average.module if average.n_averaged else model)
                shown_at = time.monotonic()
    model.load_state_dict(average.module.state_dict())
    if show:
        _show(show, model)
    model.eval()
    return {
        "steps": training.steps,
        "loss": _mean(recent),
        "seconds": round(before + time.monotonic() - begun, 1),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "device": device_name(work.device),
        **({"changed": changed} if changed else {}),
    }


def forget(name: str, work: Work) -> None:
    """Remove a part's checkpoint: the part is saved, or is to be trained from the start."""
    (work.folder / f"{name}.ckpt").unlink(missing_ok=True)


def _show(show: Callable[[nn.Module], None], model: nn.Module) -> None:
    """Save samples of a model that is still training."""
    model.eval()
    with torch.no_grad():
        show(model)
    model.train()


def _rate(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at a step."""
    warmup = max(1, steps // 20)
    return min((step + 1) / warmup, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _mean(recent: list[Tensor]) -> float:
    return float(torch.stack(recent).float().mean()) if recent else 0.0


def _save(path: Path, targets: Iterable[Any], values: dict[str, Any]) -> None:
    with atomic_file(path) as part:
        torch.save({**values, "states": [target.state_dict() for target in targets]}, part)


def _resume(path: Path, targets: Iterable[Any], steps: int, device: str) -> dict[str, Any]:
    """Load a checkpoint into the targets; return step, recent losses and seconds."""
    if not path.exists():
        return {"step": 0, "recent": [], "seconds": 0.0, "changed": []}
    from sip.classifier.resume import check_sums

    try:
        check_sums(path)
    except (DamagedError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: must be a whole checkpoint, got one that is damaged ({error}); train it from "
            f"the start with again=[{path.stem}]"
        ) from error
    saved = torch.load(path, map_location=device, weights_only=True)
    changed = saved.get("changed", [])
    if saved["step"] >= steps:
        raise UserError(
            f"{path}: must be a checkpoint before step {steps}, the last one, got one of step "
            f"{saved['step']}; train it from the start with again=[{path.stem}]"
        )
    if saved["steps"] != steps:
        change = f"to step {saved['step']:,} on the way to {saved['steps']:,}, then to {steps:,}"
        say(path.stem, f"the checkpoint is of another number of steps: {change}")
        changed = [*changed, change]
    try:
        for target, state in zip(targets, saved["states"], strict=True):
            target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:  # e.g. of another `judge`
        raise UserError(
            f"{path}: must be a checkpoint of this network, got another's; train it from the start "
            f"with again=[{path.stem}]"
        ) from error
    return {**saved, "recent": list(saved["recent"]), "changed": changed}


def _groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict]:
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def device_name(device: str) -> str:
    """Return the device in words, for the card."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {counted(torch.get_num_threads(), 'thread')}"
