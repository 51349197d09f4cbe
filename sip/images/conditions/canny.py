"""Edges, as the public ControlNets for edges were trained with: OpenCV's.

Source: Canny, IEEE TPAMI 1986; Zhang et al., ICCV 2023 (arXiv 2302.05543), thresholds at random.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from sip.core.component import component, refuse
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.ranges import NotNegative
from sip.device.settings import Runtime
from sip.images.conditions.base import Condition, Conditioner

if TYPE_CHECKING:
    from torch import Tensor


@component
class Canny(Condition):
    """White edges on black.

    Args:
        low, high: Thresholds of the gradient: edges begin above `high` and go on above `low`.
    """

    low: NotNegative
    high: NotNegative

    def __post_init__(self) -> None:
        """Refuse thresholds in the wrong order."""
        if self.low > self.high:
            raise refuse("low", f"at most high, which is {self.high:g}", self.low)

    def require(self) -> None:
        """Make sure that OpenCV is installed.

        Raises:
            UserError: It is not.
        """
        if find_spec("cv2") is None:
            extra = install_extras("control")
            raise UserError(f"images/condition=canny: needs the package opencv-python; {extra}")

    def load(self, runtime: Runtime) -> Conditioner:
        """Return the function."""
        return self._edges

    def _edges(self, pixels: "Tensor") -> "Tensor":
        import cv2
        import torch

        levels = (pixels * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        edges = cv2.Canny(levels, self.low, self.high)  # the strongest channel of each pixel
        white = torch.from_numpy(edges).to(pixels.device, torch.float32) / 255
        return white.expand(3, -1, -1)
