"""Step 5: ResNet-18 on CIFAR-10 in the time that is left; to reach: 94 % on test.

A plain loop, and not the project's trainer: 30 passes at batch 128 do not fit into what is left of
nine minutes (`python -m sip.train +exp=cifar10_resnet18 runtime.device=cuda` is that run). The
network is the project's; images and augmentation (crop of 4 px, mirror) are on the device. The
learning rate follows the clock. 1,000 training images are held out, and watched; no choice is made
by them. The test images are read once, at the end.
"""

import math
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.gpu import cifar
from experiments.gpu.job import Job, rounded
from experiments.gpu.settings import TINY_TRAINING
from sip.backbone.timm import Timm

NAME, TINY_NAME = "resnet18", "test_resnet"
STEM = "3x3_s1"  # for 32 px, not pooled
BATCH, TINY_BATCH = 512, 32
LR = 0.1 / 128  # for each image of a batch
WARM_UP = 0.2  # of the time
MOMENTUM, DECAY, SMOOTHING = 0.9, 5e-4, 0.1
NUM_VAL, TINY_VAL = 1000, 100
CHOICE_SEED = 0  # of the images that are held out
PAD = 4  # px, mirrored
MAX_PASSES = 40  # over the training images, however much time there is
END_SECONDS = 8.0
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
TO_REACH = 0.94


def run(job: Job) -> None:
    """Train by the clock and read the test images once."""
    torch.manual_seed(0)
    tiny, device = job.settings.tiny, torch.device(job.settings.device)
    images, labels = (part.to(device) for part in cifar.read(job, "train"))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(CHOICE_SEED))
    held = TINY_VAL if tiny else NUM_VAL
    val, train = order[:held].to(device), order[held:].to(device)
    network = _network(tiny).to(device, memory_format=torch.channels_last)
    job.record(code="plain loop of experiments/gpu/resnet18.py", num_train=len(train))
    budget = min(job.left() - END_SECONDS, TINY_TRAINING if tiny else math.inf)
    padded = F.pad(images[train].float(), (PAD,) * 4, mode="reflect").to(torch.uint8)
    began = time.perf_counter()
    passes = _train(job, network, padded, labels[train], (images[val], labels[val]), budget)
    seconds = time.perf_counter() - began
    rate = passes * len(train) / seconds
    job.record(
        passes=rounded(passes), seconds_of_training=rounded(seconds), images_per_s=rounded(rate)
    )
    if not cifar.has(job, "test"):
        accuracy = job.results["val"][-1]["accuracy"]
        job.record(summary=f"val {accuracy:.2%}; test not run: no test.parquet in data=")
        return
    images, labels = (part.to(device) for part in cifar.read(job, "test"))
    accuracy = _accuracy(network, images, labels)
    job.record(
        test_accuracy=accuracy,
        summary=f"test top-1 {accuracy:.2%} after {passes:.1f} passes, {rate:,.0f} images/s",
    )
    if not tiny:
        job.reach("test top-1", accuracy, TO_REACH)


def _network(tiny: bool) -> torch.nn.Module:
    name, stem = (TINY_NAME, None) if tiny else (NAME, STEM)
    return Timm(name, None, None, stem, None, 0.0, 32, None, None).create(len(cifar.CLASSES))


def _train(
    job: Job,
    network: torch.nn.Module,
    padded: Tensor,
    labels: Tensor,
    val: tuple[Tensor, Tensor],
    budget: float,
) -> float:
    """Take steps until the time, or the number of passes, is over; return the passes."""
    batch = TINY_BATCH if job.settings.tiny else BATCH
    optimizer = torch.optim.SGD(
        _groups(network), LR * batch, momentum=MOMENTUM, nesterov=True, foreach=True
    )
    began, steps, history = time.perf_counter(), 0, []
    per_pass = len(labels) // batch
    part = 0.0
    while part < 1:
        network.train()
        total = torch.zeros((), device=padded.device)
        taken = 0
        for chosen in torch.randperm(len(labels), device=padded.device).split(batch)[:per_pass]:
            if part >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = LR * batch * _schedule(part)
            with _autocast(padded.device):
                logits = network(_normalized(_augmented(padded, chosen)))
                loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            steps, taken = steps + 1, taken + 1
            over = (time.perf_counter() - began) / budget
            part = max(over, steps / (MAX_PASSES * per_pass))
            if steps % 20 == 0:
                job.synchronize()  # the clock counts work that is done, not work in the queue
        history.append(
            {
                "passes": rounded(steps / per_pass),
                "loss": rounded(float(total) / max(taken, 1)),
                "accuracy": rounded(_accuracy(network, *val)),
            }
        )
        job.record(val=history)
    job.synchronize()
    return steps / per_pass


def _groups(network: torch.nn.Module) -> list[dict[str, Any]]:
    """Return the weights: only matrices and kernels decay."""
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    rest = [weight for weight in network.parameters() if weight.ndim <= 1]
    return [{"params": weights, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]


def _schedule(part: float) -> float:
    """Return the factor of the learning rate: up to 1 over the warm-up, then to 0, both linear."""
    return min((part + 1e-3) / WARM_UP, (1 - part) / (1 - WARM_UP))


def _augmented(padded: Tensor, chosen: Tensor) -> Tensor:
    """Return a crop of 32 px at a random place of each image, half of them mirrored."""
    num, device = len(chosen), padded.device
    steps = torch.arange(32, device=device)
    top, left = torch.randint(2 * PAD + 1, (2, num, 1), device=device)
    columns = left + steps
    mirrored = torch.rand(num, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    channels = torch.arange(3, device=device)[None, :, None, None]
    rows = (top + steps)[:, None, :, None]
    return padded[chosen[:, None, None, None], channels, rows, columns[:, None, None, :]]


def _normalized(images: Tensor) -> Tensor:
    """Return float32 images, channels last, of mean 0 and deviation 1."""
    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD)
    )
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def _autocast(device: torch.device) -> Any:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@torch.inference_mode()
def _accuracy(network: torch.nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images, (N, 3, 32, 32), uint8, that are classified rightly."""
    network.eval()
    right = 0
    for part, wanted in zip(images.split(2000), labels.split(2000), strict=True):
        with _autocast(images.device):
            right += int((network(_normalized(part)).argmax(1) == wanted).sum())
    return right / len(labels)
