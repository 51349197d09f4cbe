"""Samples and settings for the writers that say something else for each variant."""

from typing import Any

from sip.dataset.base import Sample
from sip.prompts.guidance.constant import Constant
from sip.prompts.weighting.compel import CompelWeighting


def sample(number: int) -> Sample:
    """Return one of two classes."""
    name = ("cat", "race car")[number % 2]
    path = f"/data/{number}.png"
    return Sample(f"s{number}", path, number % 2, name, "train", 32, 32, f"sha{number}")


SAMPLES = [sample(number) for number in range(12)]
COMMON: dict[str, Any] = {
    "negative_prompt": "",
    "noise_rate": 0.5,
    "seed": 0,
    "guidance": Constant(4.0),
    "weighting": CompelWeighting(),
}
