"""Only the generation: `python -m sip.generate +exp=resnet50_sip`, up to the generated images."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Generate the images of the training part that are missing."""
    from sip.jobs.generate import generate

    generate(config)


def main() -> None:
    """Generate what the command line's configuration asks for."""
    sip.config.cli.main(task)


class CallableModule(ModuleType):
    """This module, which stays callable: importing it hides the function `sip.generate`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        from sip.api.generation import generate

        return generate(*args, **kwargs)


sys.modules[__name__].__class__ = CallableModule

if __name__ == "__main__":
    main()
