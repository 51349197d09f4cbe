"""Adapt a generator to your own classes: `python -m sip.adapt dataset=... method=lora`.

It learns from the training part of a data set. The folder `adapt-<dataset>-<method>-<fingerprint>`
under `paths.runs` is what `images.lora=` takes. `docs/adapt.md` says what to expect.
"""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Adapt the generator, or print with `plan=true` what that takes."""
    from sip.adapt.job import Adaptation

    work = Adaptation(config)
    if not config.plan:
        work.run()
        return
    from sip.adapt.plan import plan_lines
    from sip.core.text import text_table

    print(text_table(plan_lines(work)))
    if work.missing is not None:
        print(work.missing)


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="adapt")


if __name__ == "__main__":
    main()
