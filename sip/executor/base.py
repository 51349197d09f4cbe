"""What an executor is: it decides which process makes which batch of a stage."""

from abc import ABC, abstractmethod
from typing import Any

from sip.core.component import component
from sip.device.settings import Devices
from sip.store.filling import Filling, Make
from sip.store.stage import StageStore


@component
class Executor(ABC):
    """Has the missing rows of a stage made, and committed once each.

    It gets batches (`Filling.batches`), a function that makes them, and a commit (`Filling.add`,
    `Filling.commit`). Nothing of an executor is in a recipe or a key: rows and bytes are the same.
    """

    @abstractmethod
    def run(self, filling: Filling[Any], make: Make[Any]) -> None:
        """Return when all rows of a filling are committed, by this process or by another one.

        Args:
            filling: What is missing; a stop ends the call early.
            make: As that of `sip.store.fill.fill`.

        Raises:
            Exception: What `make` raises, once the rows before are committed.
        """

    @abstractmethod
    def sweep(self, stage: StageStore) -> None:
        """Remove what dead processes have left unfinished in a stage that lacks no row."""

    def check(self, devices: Devices) -> None:  # noqa: B027, a process that claims needs nothing
        """Check that this process can take its part.

        Args:
            devices: Devices of the whole job, as Lightning shares them out.

        Raises:
            UserError: It cannot; before any costly work.
        """

    @property
    def num_workers(self) -> int:
        """Number of jobs that this one shares the work with, itself included."""
        return 1

    @property
    def is_remote(self) -> bool:
        """Whether models are loaded in other processes, and none in this one."""
        return False

    @property
    def is_first(self) -> bool:
        """Whether this process writes the folder of the run."""
        return True

    def by_itself(self) -> "Executor":
        """Return the executor of stages that only the first process asks for."""
        return self
