"""diffusers and transformers without their bars, notices and hints."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers.utils.logging
import transformers.utils.logging

# diffusers' checker reports what it finds in a line of its own for every batch.
CHECKER = "diffusers.pipelines.stable_diffusion.safety_checker"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' bars, notices and hints; ours is the only progress bar."""
    names = ("diffusers", "transformers")
    levels = {name: logging.getLogger(name).level for name in names}
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger(CHECKER).setLevel(logging.ERROR)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # Of a part that diffusers' own Chroma uses.
            warnings.filterwarnings("ignore", "`FluxPosEmbed` is deprecated", FutureWarning)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
