"""Try, review and compare in the browser: `python -m sip.studio profile=embedded`."""

from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Serve the studio until Ctrl-C."""
    from hydra.core.hydra_config import HydraConfig

    from sip.config.provenance import command_line
    from sip.core.progress import say
    from sip.core.text import key_of
    from sip.studio.page import launch
    from sip.studio.settings import DATA, Settings, searched

    overrides = command_line()["overrides"]
    if unread := [word for word in overrides if key_of(word).partition(".")[0] == DATA]:
        say("studio", f"{' '.join(unread)}: not read; runs know their data, and Try has your image")
    sources = HydraConfig.get().runtime.config_sources
    settings = Settings.of(config, [*searched(sources), *overrides])
    launch(settings, config.host, config.port, config.open, wait=True)


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="studio")


if __name__ == "__main__":
    main()
