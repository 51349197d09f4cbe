"""SIP: semantic-guided generative image augmentation (arXiv 2302.02070).

In a program of your own:

    import sip
    run = sip.generate("photos/", model="sd15", noise_rate=0.5, per_sample=2)
    train = sip.AugmentedDataset(my_torch_dataset, run, p=0.3)

Nothing heavy is imported until a name is used.
"""

import importlib
import logging
from typing import Any

__version__ = "0.1.0"
PUBLIC = {  # name -> its module; __init__.pyi says the same to type checkers
    "generate": "sip.api.generation",
    "preview": "sip.api.generation",
    "Preview": "sip.api.generation",
    "Run": "sip.api.run",
    "Session": "sip.api.session",
    "RunImage": "sip.api.run",
    "AugmentedDataset": "sip.api.augmented",
    "UserError": "sip.core.errors",
}
__all__ = ["__version__", "transforms", *PUBLIC]

# What the libraries say, at each start, of torchao if it is installed; none of it concerns its use.
for _name in ("torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """Import a public name when it is used."""
    if name == "transforms":
        return importlib.import_module("sip.transforms")
    if name not in PUBLIC:
        raise AttributeError(f"module 'sip' has no attribute {name!r}")
    value = getattr(importlib.import_module(PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
