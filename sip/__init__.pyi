from sip import transforms as transforms
from sip.api.augmented import AugmentedDataset as AugmentedDataset
from sip.api.generation import Preview as Preview
from sip.api.generation import generate as generate
from sip.api.generation import preview as preview
from sip.api.run import Run as Run
from sip.api.run import RunImage as RunImage
from sip.api.session import Session as Session
from sip.core.errors import UserError as UserError

__version__: str
PUBLIC: dict[str, str]
