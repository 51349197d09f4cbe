"""CLIPSeg, loaded."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import to_pil_image


class Segmenter:
    """Marks what a text names.

    Args:
        processor: Prepares image and text.
        network: CLIPSeg, on its device.
        threshold: Probability from which a pixel is marked.
    """

    def __init__(self, processor: Any, network: Any, threshold: float) -> None:
        self.processor = processor
        self.network = network
        self.threshold = threshold

    def mask(self, pixels: Tensor, text: str) -> Tensor:
        """Return a mask (1, H, W), float32, 1 or 0, of an image (3, H, W), in [0, 1]."""
        inputs = self.processor(
            text=[text], images=[to_pil_image(pixels.cpu())], truncation=True, return_tensors="pt"
        ).to(self.network.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.network.dtype)
        logits: Tensor = self.network(**inputs).logits.float()
        logits = logits.view(1, 1, *logits.shape[-2:])
        probability = interpolate(logits.sigmoid(), pixels.shape[-2:], mode="bilinear")[0]
        return (probability >= self.threshold).to(torch.float32)
