"""The fault suite; the order of the imports is that of the table."""

from experiments.trust.faults import killing, disks, processes, damage, training  # isort: skip
from experiments.trust.faults.base import FAULTS, Fault, NotRunError

__all__ = ["FAULTS", "Fault", "NotRunError", "damage", "disks", "killing", "processes", "training"]
