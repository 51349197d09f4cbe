"""What a sweep would do, said before it starts: runs, those found, pictures to draw, time.

Hydra calls this at the start of a multirun of `sip.train`, and at its end, where a search says what
it found. Nothing heavy is imported before.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from sip.core.text import counted, format_duration

if TYPE_CHECKING:
    from sip.dataset.base import Dataset
    from sip.jobs.train_job import TrainJob
    from sip.records.summary import TrainingSummary

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
SEARCHED = "optimization_results.yaml"  # what the sweeper writes into the sweep's folder


class Overview(Callback):
    """Says what is ahead; the jobs themselves say what is wrong with them."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Print one line on the sweep that starts."""
        if config.hydra.job.name != "train":
            return
        from sip.core.progress import say

        if config.hydra.sweeper._target_ != BASIC:
            say("sweep", "its sweeper chooses the runs as it goes")
            return
        yield_to_command_line(config)
        jobs = list_jobs(config)
        say("sweep", f"{counted(len(jobs), 'run')}; looking up which are there")
        say("sweep", survey(config, jobs).line())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the best settings that a search found: a line, or one for each on the front."""
        file = Path(config.hydra.sweep.dir) / SEARCHED
        if config.hydra.job.name != "train" or config.hydra.sweeper._target_ != OPTUNA:
            return
        from sip.core.progress import say

        for line in found_by_search(OmegaConf.load(file), config.train.objectives):
            say("search", line)


@dataclass(frozen=True)
class Survey:
    """What a sweep would do.

    Attributes:
        num_runs: That it names, each counted once.
        num_found: Of them, finished before.
        num_wrong: Of them, refused as they are; each says why when its turn comes.
        to_draw: Pictures; those that several runs share count once. An upper bound where captions
            are still to come.
        seconds: Estimated from finished runs alike, over the launcher's jobs side by side; None
            where no finished run is alike.
        num_unlike: Runs to do that no finished one is like, and so are not in `seconds`.
    """

    num_runs: int
    num_found: int
    num_wrong: int
    to_draw: int
    seconds: float | None
    num_unlike: int

    def line(self) -> str:
        """Return the survey in one line."""
        texts = [counted(self.num_runs, "run"), f"{self.num_found} found"]
        to_do = self.num_runs - self.num_found - self.num_wrong
        texts.append(f"{to_do} to do")
        if self.num_wrong:
            texts.append(f"{self.num_wrong} with wrong settings")
        texts.append(f"{counted(self.to_draw, 'picture')} to draw")
        if self.seconds is None:
            texts.append("time unknown: no finished run is like them" if to_do else "no time")
        else:
            rest = f" without {self.num_unlike} that no finished run is like"
            texts.append(f"about {format_duration(self.seconds)}{rest if self.num_unlike else ''}")
        return ", ".join(texts)


def found_by_search(results: Any, objectives: str | Sequence[str]) -> list[str]:
    """Return the settings that a search found best, with what they reached, a line each.

    Args:
        results: What its sweeper wrote: the best setting, or the Pareto front of several metrics.
        objectives: Names of the metrics.
    """
    names = [objectives] if isinstance(objectives, str) else list(objectives)
    if "solutions" in results:
        found = [(one["params"], one["values"]) for one in results["solutions"]]
    else:
        found = [(results["best_params"], [results["best_value"]])]
    unique = {str(both): both for both in found}  # a setting that was asked for twice
    lines = [f"{len(unique)} best settings of {', '.join(names)}"]
    for params, values in sorted(unique.values(), key=lambda both: -both[1][0]):
        reached = ", ".join(f"{n} {v:.4g}" for n, v in zip(names, values, strict=True))
        lines.append(f"{reached}: {' '.join(f'{key}={value}' for key, value in params.items())}")
    return lines


def yield_to_command_line(config: DictConfig) -> None:
    """Drop those parameters of a preset that the command line names: it decides, as elsewhere.

    Hydra's basic sweeper would multiply the two, and make each run several times.
    """
    params = config.hydra.sweeper.params
    named = {override.partition("=")[0] for override in config.hydra.overrides.task}
    with flag_override(config.hydra, ["readonly", "struct"], False):
        for key in [key for key in params or {} if key in named]:
            del params[key]


def list_jobs(config: DictConfig) -> list[list[str]]:
    """Return the overrides of each job, as Hydra's basic sweeper makes them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    params = config.hydra.sweeper.params or {}
    texts = [f"{key}={value}" for key, value in params.items()]
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    parsed = parser.parse_overrides([*texts, *config.hydra.overrides.task])
    return list(BasicSweeper.split_arguments(parsed, None)[0])


def survey(config: DictConfig, jobs: Iterable[list[str]]) -> Survey:
    """Look up the runs of a sweep; nothing is made."""
    from hydra.core.global_hydra import GlobalHydra

    from sip.core.errors import UserError
    from sip.core.hashing import digest
    from sip.jobs.train_job import TrainJob
    from sip.records.read import training_runs

    loader = GlobalHydra.instance().config_loader()
    runs: dict[str, TrainJob] = {}
    datasets: dict[str, Dataset] = {}  # runs share them: each is read once
    num_wrong = 0
    for overrides in jobs:
        try:
            job = loader.load_sweep_config(config, list(overrides))
            described = digest(OmegaConf.to_container(job.dataset, resolve=True))
            run = TrainJob(job, datasets.get(described))
            datasets[described] = run.dataset
        except UserError:
            num_wrong += 1
        else:
            runs[run.fingerprint] = run
    finished = {
        run.summary.fingerprint: run.summary for run in training_runs(Path(config.paths.runs))
    }
    to_do = [run for fingerprint, run in runs.items() if fingerprint not in finished]
    wanted: dict[str, set[Any]] = defaultdict(set)  # how they are drawn -> what
    alike = {digest([run.recipe["dataset"], run.recipe["offline"]]): run for run in to_do}
    for run in alike.values():  # backbones and mixes share what is drawn
        if run.offline is not None:
            wanted[_images(run.recipe)] |= to_draw(run)
    seconds, num_unlike = _seconds(to_do, wanted, finished.values())
    return Survey(
        num_runs=len(runs) + num_wrong,
        num_found=len(runs) - len(to_do),
        num_wrong=num_wrong,
        to_draw=sum(map(len, wanted.values())),
        seconds=None if seconds is None else seconds / num_side_by_side(config),
        num_unlike=num_unlike,
    )


def to_draw(run: "TrainJob") -> set[Any]:
    """Return what names the pictures that a run would draw: two of one name are drawn once."""
    from sip.core.errors import UserError
    from sip.core.hashing import digest
    from sip.pipeline.plan import known_rows

    assert run.offline is not None
    try:
        samples = run.dataset.samples("train")
        known = known_rows(run.offline, samples)
        prompts = run.offline.write(known.samples, known.captions, known.scores)
    except UserError:  # the job will say it
        return set()
    named: set[Any] = set(run.offline.room("images").missing(p.image_id for p in prompts))
    there = {sample.sha256 for sample in known.samples}
    how = digest(run.offline.recipe())
    coming = {sample.sha256 for sample in samples} - there
    variants = range(run.offline.generator.per_sample)
    return named | {(how, sha256, variant) for sha256 in coming for variant in variants}


def _seconds(
    to_do: list["TrainJob"], wanted: Mapping[str, set[Any]], finished: Iterable["TrainingSummary"]
) -> tuple[float | None, int]:
    """Return the seconds of runs like finished ones, and how many are like none."""
    training: dict[str, list[float]] = defaultdict(list)
    drawing: dict[str, list[float]] = defaultdict(list)
    for summary in finished:
        training[_classifier(summary.recipe)].append(summary.seconds("classifier"))
        if summary.num_generated:
            one = summary.generation_seconds / summary.num_generated
            drawing[_images(summary.recipe)].append(one)
    alike = [training[_classifier(run.recipe)] for run in to_do]
    known = [sum(seconds) / len(seconds) for seconds in alike if seconds]
    if not known:
        return None, len(to_do)
    drawn = sum(
        len(names) * sum(drawing[how]) / len(drawing[how])
        for how, names in wanted.items()
        if drawing[how]
    )
    return sum(known) + drawn, len(to_do) - len(known)


def _classifier(recipe: Mapping[str, Any]) -> str:
    from sip.core.hashing import digest

    return digest(json.loads(json.dumps([recipe["backbone"], recipe["classifier"]])))


def _images(recipe: Mapping[str, Any]) -> str:
    """Return what names the way of drawing; a picture's time also depends on its noise rate."""
    from sip.core.hashing import digest

    offline = recipe["offline"]
    rate = offline["prompts"].get("noise_rate")
    return digest(json.loads(json.dumps([offline["images"], rate])))


def num_side_by_side(config: DictConfig) -> int:
    """Return how many jobs the launcher runs at a time, as far as it says."""
    num = config.hydra.launcher.get("n_jobs", 1) or 1
    return max(1, int(num)) if num > 0 else os.cpu_count() or 1
