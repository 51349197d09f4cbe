"""Any transform of the library Albumentations (MIT), named on the command line or in a YAML.

Buslaev et al., Information 2020, arXiv 1809.06839. Its random numbers are seeded from torch's for
each image.
"""

import os
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sip.augmentation.sample.base import SampleTransform, as_given
from sip.core.component import component, refuse
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.text import reason_of

if TYPE_CHECKING:
    from torch import Tensor

MAX_SEED = 2**31


@component
class AlbumentationsTransform(SampleTransform):
    """A transform of Albumentations.

    Args:
        transform: Name of a class of `albumentations` that changes images.
        arguments: Arguments of its constructor, such as its probability `p`.
    """

    transform: str
    arguments: dict[str, Any]

    def require(self) -> None:
        """Make the transform.

        Raises:
            UserError: The package is missing, there is none of that name, or its arguments are
                wrong.
        """
        _ = self.built

    @cached_property
    def built(self) -> Any:
        """The transform, in the library's `Compose`, which is what is seeded."""
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network else
        try:
            import albumentations
        except ImportError as error:
            raise UserError(
                "augmentation/sample=albumentations: needs the package albumentations; "
                f"{install_extras('albumentations')}"
            ) from error
        kind = getattr(albumentations, self.transform, None)
        if not (isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform)):
            rule = "the name of a transform of albumentations, such as GridDistortion"
            raise refuse("transform", rule, self.transform)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # unknown arguments
                return albumentations.Compose([kind(**self.arguments)])
        except (TypeError, ValueError, UserWarning) as error:
            rule = f"arguments of {self.transform} ({reason_of(error)})"
            raise refuse("arguments", rule, self.arguments) from error

    def __call__(self, image: "Tensor") -> "Tensor":
        """Return a changed image: (3, H, W), uint8."""
        import torch

        self.built.set_random_seed(int(torch.randint(MAX_SEED, ())))
        changed = self.built(image=image.permute(1, 2, 0).numpy())["image"]
        if changed.ndim == 3:
            changed = changed.transpose(2, 0, 1)
        return as_given(torch.from_numpy(changed).contiguous(), image, self.transform)
