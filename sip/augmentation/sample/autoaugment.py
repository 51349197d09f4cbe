"""AutoAugment (Cubuk et al., CVPR 2019, arXiv 1805.09501), by torchvision (BSD).

The policies are the ones that the authors' search found for three data sets; a picture gets one of
a policy's 25 pairs of operations. Flips and cropping are not part of it.
"""

from functools import cached_property

from torch import Tensor
from torchvision.transforms import v2

from sip.core.component import Component, component
from sip.core.errors import UserError

POLICIES = {policy.value: policy for policy in v2.AutoAugmentPolicy}


@component
class AutoAugment(Component):
    """A pair of operations of a policy that was found by search.

    Args:
        policy: "imagenet", "cifar10" or "svhn": the data that it was found on.
        fill: Grey level, in [0, 255], of what a shift or a turn lays bare.

    Raises:
        UserError: No such policy.
    """

    policy: str
    fill: int

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UserError(
                f"augmentation.sample.policy: expected one of {', '.join(sorted(POLICIES))}, "
                f"came {self.policy!r}"
            )

    @cached_property
    def transform(self) -> v2.Transform:
        """The transform of torchvision."""
        return v2.AutoAugment(POLICIES[self.policy], fill=[self.fill] * 3)

    def __call__(self, picture: Tensor) -> Tensor:
        """Return a changed picture: (3, H, W), uint8."""
        return self.transform(picture)
