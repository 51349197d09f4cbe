"""SIP: semantic-guided generative image augmentation (arXiv 2302.02070)."""

import logging

__version__ = "0.1.0"

# What the libraries say, at each start, of torchao if it is installed; none of it concerns its use.
for _name in ("torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer"):
    logging.getLogger(_name).setLevel(logging.ERROR)
