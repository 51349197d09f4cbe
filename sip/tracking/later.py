"""Log a run that is finished already to another tracker, from the files in its folder."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sip.core.hashing import fingerprint_of
from sip.core.progress import say

PLACE = ("mode", "project", "entity", "uri")  # keys of a logger that say where it writes


def place_of(logger: Mapping[str, Any]) -> str:
    """Return what tells one place of logged runs from another: the tracker, and a hash.

    Args:
        logger: The `logger` node.
    """
    return f"{logger.get('kind')}-{fingerprint_of([logger.get(key) for key in PLACE])}"


def log_finished(
    config: DictConfig, folder: Path, numbers: Mapping[str, Any], **named: Any
) -> bool:
    """Log curves, final numbers and sheets of a finished run; return whether that worked.

    Args:
        config: The `logger` node, of a tracker.
        folder: The run folder.
        numbers: Final numbers by name.
        named: `run_id`, `name`, `group` and `values`, as `make_loggers` takes them.
    """
    from sip.tracking.loggers import CURVES, log_results, make_loggers, require_logger
    from sip.tracking.safely import SafeLogging

    require_logger(config)
    say(config.kind, f"logging what {folder} holds, a cached run that is not logged there yet")
    loggers = make_loggers(config, folder, **named)
    trackers = [logger for logger in loggers if isinstance(logger, SafeLogging)]
    for tracker in trackers:
        with (folder / CURVES).open(newline="") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                values = {key: float(value) for key, value in row.items() if value}
                tracker.log_metrics(values, step)
    return log_results(trackers, numbers, folder, [])
