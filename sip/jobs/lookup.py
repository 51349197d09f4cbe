"""Look up the jobs of a sweep before the first one starts: which are cached, which are refused.

A job is checked as far as that needs no weights and no images, so that a sweep does not end at a
mistyped value hours after its start.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sip.config.build import build
from sip.config.command import one_line
from sip.config.sweep import swept_values
from sip.core.errors import UserError
from sip.core.files import check_folders
from sip.core.hashing import digest
from sip.core.progress import progress
from sip.dataset.base import Dataset
from sip.dataset.reader import Reader
from sip.device.settings import Devices, Runtime
from sip.jobs.objectives import Objectives
from sip.jobs.train_job import TrainJob
from sip.pipeline.components import Components
from sip.records.read import finished_folders
from sip.store.repair import check_retry


@dataclass
class LookUp:
    """What is known of a sweep's jobs before the first one starts.

    Attributes:
        cached: Numbers of the jobs that have a finished run of the same recipe.
        refused: Why a job cannot run -> the numbers of all jobs for which that holds.
        repeated: Number of a job -> that of an earlier one whose run is the same.
        fingerprints: Number of a job -> fingerprint of its run, if it is not refused.
    """

    cached: list[int] = field(default_factory=list)
    refused: dict[str, list[int]] = field(default_factory=dict)
    repeated: dict[int, int] = field(default_factory=dict)
    fingerprints: dict[int, str] = field(default_factory=dict)

    def repeats(self, jobs: Sequence[Sequence[str]], keys: Sequence[str]) -> list[str]:
        """Return one line if jobs are the runs of earlier ones, with the keys that differ."""
        if not self.repeated:
            return []
        later, first = next(iter(self.repeated.items()))
        values, others = (swept_values(jobs[number], keys) for number in (later, first))
        unread = ", ".join(key for key in values if values[key] != others.get(key))
        also = f", and {len(self.repeated) - 1} more like it" if len(self.repeated) > 1 else ""
        why = f"its arm does not read {unread}" if unread else "a value is given twice"
        return [f"job {later + 1}/{len(jobs)} is the same run as job {first + 1}{also}: {why}"]

    def lines(self, jobs: Sequence[Sequence[str]], keys: Sequence[str]) -> list[str]:
        """Return a line for each reason, with the first job that it refuses."""
        return [self._line(reason, numbers, jobs, keys) for reason, numbers in self.refused.items()]

    def _line(
        self,
        reason: str,
        numbers: Sequence[int],
        jobs: Sequence[Sequence[str]],
        keys: Sequence[str],
    ) -> str:
        values = swept_values(jobs[numbers[0]], keys)
        more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
        where = f"job {numbers[0] + 1}/{len(jobs)} ({' '.join(map('='.join, values.items()))})"
        return f"no job was started; {where}{more}: {reason}"


class Checks:
    """The checks of jobs; what several jobs share is built or checked once."""

    def __init__(self) -> None:
        self._datasets: dict[str, Dataset] = {}
        self._checked: set[str] = set()
        self.fingerprint: str | None = None  # of the last job that was checked

    def train(self, config: DictConfig) -> bool:
        """Check a job of `sip.train`; return whether it is cached.

        Raises:
            UserError: It is refused.
        """
        _check_shared(config)
        job = TrainJob(config, self._dataset(config))
        Objectives(config, job.augmentation.offline.generates)
        self.fingerprint = job.fingerprint
        if job.reuses and finished_folders(Path(config.paths.runs), job.fingerprint):
            return True
        self._check_shots(config)
        recipe = {**job.recipe, "seed": None, "dataset": None}
        self._once([recipe, _plain(config.runtime), _plain(config.trainer)], job.check)
        return False

    def generate(self, config: DictConfig) -> bool:
        """Check a job of `sip.generate`.

        Raises:
            UserError: It is refused.
        """
        _check_shared(config)
        self._check_shots(config)
        Devices.of(config.trainer)
        Runtime.of(config.runtime)
        components = Components(config)
        components.check_without_training()
        self._once(components.recipe(), components.check)
        return False

    def _dataset(self, config: DictConfig) -> Dataset:
        described = digest(_plain(config.dataset))
        if described not in self._datasets:
            dataset = build(config.dataset)
            if isinstance(dataset, Reader):
                for other in self._datasets.values():
                    dataset.share(other)
            self._datasets[described] = dataset
        return self._datasets[described]

    def _check_shots(self, config: DictConfig) -> None:
        dataset = self._dataset(config)
        if isinstance(dataset, Reader):
            self._once(_plain(config.dataset), dataset.check_shots)

    def _once(self, what: Any, check: Callable[[], None]) -> None:
        """Check what was not checked yet; what is refused is refused each time."""
        described = digest(what)
        if described not in self._checked:
            check()
            self._checked.add(described)


def look_up(config: DictConfig, jobs: Sequence[Sequence[str]]) -> LookUp:
    """Compose and check each job of a sweep.

    Args:
        config: Configuration of the sweep, with the node `hydra`.
        jobs: The overrides of each.

    Raises:
        HydraException: A job cannot be composed.
    """
    checks = Checks()
    kinds: Mapping[str, Callable[[DictConfig], bool]] = {
        "train": checks.train,
        "generate": checks.generate,
    }
    check, found = kinds[config.hydra.job.name], LookUp()
    first: dict[str, int] = {}
    bar = progress("look-up", len(jobs), "job", delay=1)
    for number, overrides in enumerate(jobs):
        checks.fingerprint = None
        job = compose(config.hydra.job.config_name, list(overrides))
        try:
            if check(job):
                found.cached.append(number)
        except (UserError, OmegaConfBaseException) as error:
            reason = str(error) if isinstance(error, UserError) else one_line(error)
            found.refused.setdefault(reason, []).append(number)
        if checks.fingerprint:
            found.fingerprints[number] = checks.fingerprint
        if checks.fingerprint and first.setdefault(checks.fingerprint, number) != number:
            found.repeated[number] = first[checks.fingerprint]
        bar.update(1)
    bar.close()
    return found


def _check_shared(config: DictConfig) -> None:
    check_retry(config.retry)
    check_folders(config.paths)


def _plain(node: DictConfig) -> Any:
    return OmegaConf.to_container(node, resolve=True)
