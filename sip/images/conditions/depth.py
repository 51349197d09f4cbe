"""Depth by a model of transformers: near is white, as ControlNets for depth were trained with."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sip.core.component import component
from sip.core.errors import UserError
from sip.device.settings import Runtime
from sip.images.conditions.base import Condition, Conditioner
from sip.weights.layout import CONFIG, read_json
from sip.weights.pretrained import Pretrained

if TYPE_CHECKING:
    from torch import Tensor

ENDING = "ForDepthEstimation"


@component
class Depth(Pretrained, Condition):
    """The model's inverse depth, scaled to [0, 1] in each image.

    Such as Depth Anything V2 (Yang et al., NeurIPS 2024, arXiv 2406.09414) or DPT (Ranftl et al.,
    ICCV 2021).
    """

    model_class: ClassVar[str] = "AutoModelForDepthEstimation"

    def _check_class(self, folder: Path) -> None:
        config = read_json(folder / CONFIG)
        kinds = config.get("architectures") or []
        if not any(str(kind).endswith(ENDING) for kind in kinds):
            raise UserError(
                f"images.condition.model: must be a model for depth of transformers ({ENDING}), "
                f"got {', '.join(map(str, kinds)) or 'no class'} in {folder / CONFIG}; set another"
            )

        is_metric = config.get("depth_estimation_type") == "metric"
        if is_metric or any(str(kind).startswith("Zoe") for kind in kinds):
            raise UserError(
                "images.condition.model: must be a model for inverse depth, near is high, got one "
                f"for metres in {folder / CONFIG}; set another"
            )

    def _processor(self, folder: Path) -> Any:
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(folder)

    def load(self, runtime: Runtime) -> Conditioner:
        """Return the loaded model as a function."""
        import torch
        from torchvision.transforms.functional import to_pil_image

        processor, network = self.read_processor(), self.read_network(runtime.device)

        def depth(pixels: "Tensor") -> "Tensor":
            inputs = processor(images=to_pil_image(pixels.cpu()), return_tensors="pt")
            values = inputs["pixel_values"].to(network.device, network.dtype)
            near = network(pixel_values=values).predicted_depth.float()
            shape = pixels.shape[-2:]
            near = torch.nn.functional.interpolate(near[None], shape, mode="bicubic")[0, 0]
            near = near - near.min()
            scaled = near / near.max().clamp(min=torch.finfo(near.dtype).tiny)
            return scaled.to(pixels.device).expand(3, -1, -1)

        return depth
