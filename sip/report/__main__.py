"""The page of an experiment: `python -m sip.report experiment=main output=report.html`."""

from pathlib import Path
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Read the finished runs of an experiment and write their page."""
    from sip.config.provenance import command
    from sip.core.component import refuse
    from sip.core.errors import UserError
    from sip.core.files import check_output, plain_disk_errors, write_atomically
    from sip.core.progress import say
    from sip.core.text import counted, format_bytes
    from sip.core.uri import place_of
    from sip.report.page import page
    from sip.report.runs import find_runs, header_of
    from sip.tables.layout import names

    for name, least in (("max_images", 0), ("thumbnail_size", 16)):
        if type(config[name]) is not int or config[name] < least:
            raise UserError(f"{name}: must be a whole number >= {least}, got {config[name]!r}")
    for name in ("runs", "output", "experiments"):
        if not isinstance(config[name], str):
            raise refuse(name, "a path", config[name], f"say {name}=PATH")
    store = None if config.store is None else place_of(config.store, "store")
    damaged: list[str] = []
    warnings: list[str] = []
    output = Path(config.output)
    if output.suffix not in (".html", ".htm"):
        raise refuse("output", "a file ending in .html", config.output)
    check_output(output)
    experiments = names(config.experiment) or ()
    runs = find_runs(Path(config.runs), experiments, store, damaged)
    title = ", ".join(experiments) or "all runs"
    folder = Path(config.experiments) / title
    header = header_of(title, folder)
    if config.question is not None:
        header["Question"] = config.question
    text = page(
        runs,
        title,
        header,
        experiments=experiments,
        damaged=damaged,
        warnings=warnings,
        figures=Path(config.figures) if config.figures else folder,
        max_images=config.max_images,
        thumbnail_size=config.thumbnail_size,
        command=command("report"),
        full_paths=config.full_paths,
    )
    with plain_disk_errors(output, "output"):
        write_atomically(output, text)
    for line in dict.fromkeys(damaged):
        print(f"left out: {line}")
    for line in warnings:
        say("warning", line)
    print(f"{output}: {counted(len(runs), 'run')}, {format_bytes(len(text.encode()))}")


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="report")


if __name__ == "__main__":
    main()
