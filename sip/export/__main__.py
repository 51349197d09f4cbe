"""Export of a finished run: `python -m sip.export run=runs/<name> output=<folder>`."""

from pathlib import Path
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


OF_ONNX = ("run", "output", "format", "debug")  # keys; the rest is of images


def task(config: "DictConfig") -> None:
    """Write the images of a run in the format that is asked for."""
    from sip.core.component import refuse
    from sip.core.errors import UserError
    from sip.core.text import counted
    from sip.core.uri import place_of

    for name, example in (("run", "runs/<name>"), ("output", "<a new folder or file>")):
        if config[name] in (None, ""):
            raise UserError(f"{name}: must be given; say {name}={example}")
    for name in ("run", "output", "store"):
        if config[name] is not None and not isinstance(config[name], str):
            raise refuse(name, "one folder", config[name], f"say {name}=FOLDER")

    if config.format == "onnx":
        if config.push is not None:
            raise UserError(
                f"push: must be null for format=onnx, got {config.push}; images are pushed as "
                "image_folder, webdataset or datasets"
            )
        from sip.config.provenance import command_line
        from sip.core.text import key_of

        for text in command_line()["overrides"]:
            if (key := key_of(text)) not in OF_ONNX and not key.startswith("hydra"):
                raise UserError(
                    f"{key}: must be left out with format=onnx, which writes the classifier, got "
                    f"{text}"
                )
        from sip.export.onnx import OPSET, export_onnx

        difference = export_onnx(Path(config.run), Path(config.output))
        print(
            f"{config.output}: the classifier as ONNX, opset {OPSET}; its logits differ from "
            f"PyTorch's by {difference:.1g} at most"
        )
        return

    from sip.core.progress import say
    from sip.export.main import Options, export
    from sip.filter.review import REVIEW

    options = Options(
        run=Path(config.run),
        output=Path(config.output),
        format=config.format,
        parts=[config.parts] if isinstance(config.parts, str) else list(config.parts or []),
        originals=config.originals,
        link=config.link,
        per_file=config.per_file,
        provenance=config.provenance,
        review=config.review,
        store=None if config.store is None else place_of(config.store, "store"),
        push=config.push,
        private=config.private,
        overwrite=config.overwrite,
    )
    if hub := options.hub():
        hub.log_in()
    source = export(options, hub)
    failed = f", {counted(source.failed.total(), 'failed one')} left out" if source.failed else ""
    if source.rejected:
        reasons = ", ".join(f"{num:,} {reason}" for reason, num in source.rejected.most_common())
        failed += f", {counted(source.rejected.total(), 'generated one')} left out ({reasons})"
    print(f"{options.output}: {counted(source.num, 'image')} as {options.format}{failed}")
    if options.review is None and (options.run / REVIEW).is_file():
        say(
            "review", f"{options.run / REVIEW} was not read; review=keep leaves out what it rejects"
        )
    if hub:
        print(f"pushed to {hub.push(options.output)}")


def main() -> None:
    """Run on the command line's configuration."""
    sip.config.cli.main(task, config_name="export")


if __name__ == "__main__":
    main()
