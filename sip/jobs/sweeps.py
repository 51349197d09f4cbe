"""The callback that says what a sweep has ahead, and at its end how to compare its runs.

Hydra builds it for every multirun; nothing heavy is imported before.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from sip.config import sweep
from sip.core.progress import say
from sip.core.text import counted, format_duration, key_of, text_table
from sip.core.uri import place_of
from sip.jobs.baseline import tables_command

LOOKED_UP = ("train", "generate")  # jobs
SEARCHED = "optimization_results.yaml"  # what a search writes into the sweep's folder


class Overview(Callback):
    """Refuses a sweep with a job that cannot run, says what is ahead, and how to compare."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all jobs; say how many there are, and how many of their runs are cached.

        Raises:
            SystemExit: A job is refused, with code 2.
        """
        folder = Path(config.hydra.sweep.dir)
        yield_to_command_line(config)
        try:
            axes = list_axes(config)
        except (HydraException, OmegaConfBaseException):  # Hydra finds it too, and says it
            return
        keys = [key.lstrip("+") for key, values in axes.items() if len(values) != 1]
        if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):  # it goes by results
            sweep.begin(folder, keys, config.hydra.sweeper.get("n_trials"))
            return
        jobs = list_jobs(axes)
        if config.hydra.job.name not in LOOKED_UP:
            sweep.begin(folder, keys, len(jobs))
            return
        from sip.jobs.lookup import look_up

        num = counted(len(jobs), "job")
        say("sweep", f"{num}; looking up which are cached, and checking all of them")
        try:
            found = look_up(config, jobs)
        except (HydraException, OmegaConfBaseException):
            return
        if found.refused:
            for line in found.lines(jobs, keys):
                print(f"error: {line}", file=sys.stderr, flush=True)
            sys.exit(2)  # Hydra makes a warning of any other exception of a callback
        for line in found.repeats(jobs, keys):
            say("sweep", line)
        say("sweep", f"{num}, {len(found.cached)} cached")
        sweep.begin(folder, keys, len(jobs), found.cached)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Say how long it took and how to compare, and the best settings of a search."""
        jobs = sweep.Sweep.read()
        name = config.hydra.job.name
        if jobs is None or name not in LOOKED_UP:
            return
        took = format_duration(time.time() - jobs.started)
        of_cached = f", {len(jobs.cached)} of them cached" if jobs.cached else ""
        done = "planned" if config.plan else "finished"
        say("sweep", f"{counted(len(jobs.finished), 'job')} {done} in {took}{of_cached}")
        if config.plan:
            from sip.pipeline.planned import left, total_lines

            print(text_table(total_lines(left(), place_of(config.paths.store))))
        if name != "train":
            return
        if "OptunaSweeper" in config.hydra.sweeper._target_:
            file = Path(config.hydra.sweep.dir) / SEARCHED
            for line in best_settings(OmegaConf.load(file), config.train.objectives):
                say("search", line)
        if not config.plan:
            say("sweep", f"compare: {tables_command(config)}")


def best_settings(results: Any, objectives: str | Sequence[str]) -> list[str]:
    """Return the best settings of a search, or its Pareto front, a line each."""
    names = [objectives] if isinstance(objectives, str) else list(objectives)
    if "solutions" in results:
        settings = [(item["params"], item["values"]) for item in results["solutions"]]
    else:
        settings = [(results["best_params"], [results["best_value"]])]
    unique = {str(item): item for item in settings}  # a search may ask twice
    lines = [f"{counted(len(unique), 'best setting')} of {', '.join(names)}"]
    for params, values in sorted(unique.values(), key=lambda item: -item[1][0]):
        reached = ", ".join(f"{n} {v:.4g}" for n, v in zip(names, values, strict=True))
        lines.append(f"{reached}: {' '.join(f'{key}={value}' for key, value in params.items())}")
    return lines


def yield_to_command_line(config: DictConfig) -> None:
    """Drop the parameters of a preset that the command line names: Hydra would multiply the two."""
    params = config.hydra.sweeper.params
    named = {key_of(override) for override in config.hydra.overrides.task}
    with flag_override(config.hydra, ["readonly", "struct"], False):
        for key in [key for key in params or {} if key in named]:
            del params[key]


def list_axes(config: DictConfig) -> dict[str, list[str]]:
    """Return key -> its values, as typed, of all parameters; [] if a search chooses them."""
    texts = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    axes: dict[str, list[str]] = {}
    for override in parser.parse_overrides([*texts, *config.hydra.overrides.task]):
        if not override.is_sweep_override():
            values = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
        else:
            values = []
        axes[override.get_key_element()] = values
    return axes


def list_jobs(axes: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the overrides of each job: all combinations, the first parameter varying slowest."""
    pairs = [[f"{key}={value}" for value in values] for key, values in axes.items()]
    return [list(job) for job in product(*pairs)]
