"""Classes of images: `python -m sip.predict run=runs/<name> images=FOLDER output=classes.csv`."""

import re
import sys
from typing import TYPE_CHECKING

import sip.config.cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def task(config: "DictConfig") -> None:
    """Classify images with the classifier of a run."""
    from sip.core.text import counted
    from sip.jobs.predict import PredictOptions, predict

    options = PredictOptions.of(config)
    table = predict(options)
    if options.output is None:
        table.to_csv(sys.stdout, index=False)
        return
    counts = table["label"].value_counts() if len(table) else {}
    most = ", ".join(f"{name} {num}" for name, num in list(counts.items())[:5])
    print(f"{options.output}: {counted(len(table), 'image')}{f': {most}' if most else ''}")


def main() -> None:
    """Run on the command line's configuration."""
    # To Hydra, `images` is the group of generators.
    sys.argv[1:] = [re.sub("^images=", "files=", argument) for argument in sys.argv[1:]]
    sip.config.cli.main(task, config_name="predict")


if __name__ == "__main__":
    main()
