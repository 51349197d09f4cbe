"""SIP: semantic-guided generative image augmentation (arXiv 2302.02070)."""

__version__ = "0.1.0"
