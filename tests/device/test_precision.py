"""Precision of products: what is stored or compared does not depend on what ran before."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sip.classifier.kept_features import compute
from sip.classifier.predictor import Predictor
from sip.core.errors import UserError
from sip.device.precision import require_mixed, set_precision
from sip.device.settings import Runtime


def now() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def as_a_generator_left_it() -> Iterator[None]:
    before = now()
    set_precision(Runtime.cpu(device="cuda", tf32=True))
    assert now() == ("high", True)
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


class Recording(nn.Module):
    """A network that notes the precision of each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(now())
        return images.mean((2, 3)) if images.ndim == 4 else images

    @property
    def features(self) -> "Recording":
        return self

    @property
    def model(self) -> "Recording":
        return self


def test_predictions_and_kept_features_are_of_full_float32() -> None:
    network = Recording()
    saved: Any = SimpleNamespace(
        network=lambda: network, class_names=["a"] * 3, input_size=4, normalisation=((0,) * 3,) * 2
    )
    Predictor(saved, "cpu").logits(np.zeros((2, 3, 4, 4), np.uint8))
    compute(network, torch.zeros(2, 3, 4, 4))  # type: ignore[arg-type]
    assert network.seen == [("highest", False)] * 4
    assert now() == ("high", True)


def test_float16_is_refused_for_a_training_on_a_cpu() -> None:
    with pytest.raises(UserError, match="^x: must be 32-true or bf16-mixed on a CPU, got '16-mix"):
        require_mixed("x", "16-mixed", "cpu")
    require_mixed("x", "16-mixed", "cuda")
    require_mixed("x", "bf16-mixed", "cpu")
