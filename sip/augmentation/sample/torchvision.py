"""Any transform of `torchvision.transforms.v2` (BSD), named by its YAML.

Such as RandAugment (Cubuk et al., CVPR Workshops 2020, arXiv 1909.13719), AutoAugment (Cubuk et
al., CVPR 2019, arXiv 1805.09501), TrivialAugment (Müller and Hutter, ICCV 2021, arXiv 2103.10158),
AugMix (Hendrycks et al., ICLR 2020, arXiv 1912.02781) and random erasing (Zhong et al., AAAI 2020,
arXiv 1708.04896). None of their policies crops or flips.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sip.augmentation.sample.base import SampleTransform, as_given
from sip.core.component import component, refuse
from sip.core.text import reason_of

if TYPE_CHECKING:
    from torch import Tensor


@component
class TorchvisionTransform(SampleTransform):
    """A transform of torchvision.

    Args:
        transform: Name of a class of `torchvision.transforms.v2`.
        arguments: Arguments of its constructor; a policy and an interpolation by name.
    """

    transform: str
    arguments: dict[str, Any]

    def require(self) -> None:
        """Make the transform.

        Raises:
            UserError: There is none of that name, or its arguments are wrong.
        """
        _ = self.built

    @cached_property
    def built(self) -> Any:
        """The transform of torchvision."""
        from torchvision.transforms import v2

        kind = getattr(v2, self.transform, None)
        if not (isinstance(kind, type) and issubclass(kind, v2.Transform)):
            rule = "the name of a transform of torchvision.transforms.v2, such as RandAugment"
            raise refuse("transform", rule, self.transform)
        enums = {"policy": v2.AutoAugmentPolicy, "interpolation": v2.InterpolationMode}
        try:
            values = {
                name: enums[name](value) if name in enums else value
                for name, value in self.arguments.items()
            }
            return kind(**values)
        except (TypeError, ValueError) as error:
            rule = f"arguments of {self.transform} ({reason_of(error)})"
            raise refuse("arguments", rule, self.arguments) from error

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8."""
        return as_given(self.built(image), image, self.transform)
