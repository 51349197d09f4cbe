"""The callback that says how many runs a sweep has and how many are cached, and the best found.

Hydra builds it for every multirun; nothing heavy is imported before.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from sip.core.errors import UserError
from sip.core.progress import say
from sip.core.text import counted

SEARCHED = "optimization_results.yaml"  # what a search writes into the sweep's folder


class Overview(Callback):
    """Says what is ahead; the jobs themselves say what is wrong with them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say how many runs the sweep has, and how many of them are cached."""
        is_grid = config.hydra.sweeper._target_.endswith(
            ".BasicSweeper"
        )  # a search goes by results
        if config.hydra.job.name != "train" or not is_grid:
            return
        yield_to_command_line(config)
        jobs = list_jobs(config)
        say("sweep", f"{counted(len(jobs), 'run')}; looking up which are cached")
        say("sweep", f"{counted(len(jobs), 'run')}, {count_cached(config, jobs)} cached")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Say the best settings that a search found: a line, or one for each on the front."""
        file = Path(config.hydra.sweep.dir) / SEARCHED
        if config.hydra.job.name == "train" and "OptunaSweeper" in config.hydra.sweeper._target_:
            for line in best_settings(OmegaConf.load(file), config.train.objectives):
                say("search", line)


def best_settings(results: Any, objectives: str | Sequence[str]) -> list[str]:
    """Return the settings that a search found best, or its Pareto front, a line each."""
    names = [objectives] if isinstance(objectives, str) else list(objectives)
    if "solutions" in results:
        found = [(item["params"], item["values"]) for item in results["solutions"]]
    else:
        found = [(results["best_params"], [results["best_value"]])]
    unique = {str(item): item for item in found}  # a search may ask twice
    lines = [f"{counted(len(unique), 'best setting')} of {', '.join(names)}"]
    for params, values in sorted(unique.values(), key=lambda item: -item[1][0]):
        reached = ", ".join(f"{n} {v:.4g}" for n, v in zip(names, values, strict=True))
        lines.append(f"{reached}: {' '.join(f'{key}={value}' for key, value in params.items())}")
    return lines


def yield_to_command_line(config: DictConfig) -> None:
    """Drop the parameters of a preset that the command line names: Hydra would multiply the two."""
    params = config.hydra.sweeper.params
    named = {override.partition("=")[0] for override in config.hydra.overrides.task}
    with flag_override(config.hydra, ["readonly", "struct"], False):
        for key in [key for key in params or {} if key in named]:
            del params[key]


def list_jobs(config: DictConfig) -> list[list[str]]:
    """Return the overrides of each job: all combinations, the first parameter varying slowest."""
    texts = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    axes = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [f"{one.get_key_element()}={one.get_value_element_as_str()}"]
        for one in parser.parse_overrides([*texts, *config.hydra.overrides.task])
    ]
    return [list(job) for job in product(*axes)]


def count_cached(config: DictConfig, jobs: list[list[str]]) -> int:
    """Return how many jobs have a finished run of the same recipe."""
    from sip.core.hashing import digest
    from sip.jobs.train_job import TrainJob
    from sip.records.read import finished_folders

    num, datasets = 0, dict[str, Any]()  # runs share data sets: each is read once
    for overrides in jobs:
        job = compose(config.hydra.job.config_name, overrides)
        described = digest(OmegaConf.to_container(job.dataset, resolve=True))
        try:
            run = TrainJob(job, datasets.get(described))
        except UserError:  # the job will say it
            continue
        datasets[described] = run.dataset
        num += bool(finished_folders(Path(job.paths.runs), run.fingerprint))
    return num
