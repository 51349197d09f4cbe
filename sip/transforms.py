"""Transforms for torchvision, timm, Lightning and others: first in a list of transforms.

import sip
from torchvision.transforms import v2
transform = v2.Compose([sip.transforms.GeneratedImage(run, p=0.3), v2.RandomResizedCrop(224)])
"""

from sip.api.transform import GeneratedImage

__all__ = ["GeneratedImage"]
