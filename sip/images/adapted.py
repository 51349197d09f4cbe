"""What `sip.adapt` says of an adapter that it made: the file `adapter.json` in its run folder."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.text import reason_of

RECORD = "adapter.json"
SAME_SIZE = 0.05  # of the parameters, as published numbers are rounded


@dataclass(frozen=True)
class AdapterRecord:
    """An adapter that was made by `sip.adapt`.

    Attributes:
        method: Such as "lora".
        file: Its weights, in the same folder.
        sha256: Hash of the weights.
        base: What the recipe knows the adapted model by.
        model: The adapted model, as it was configured.
        pipeline: Its pipeline class.
        names: Class name -> what the text encoder reads in its place.
        classes: Classes that it learnt, in words.
        learnt: Content hashes of the images that it learnt, without the model's own.
        steps: Optimiser steps.
        seconds: Time of the training.
        loss: Mean of the last point of the curve.
        recipe: Everything that decides the weights.
        parameters: Number of the adapted model's; None if nobody knows.
    """

    method: str
    file: str
    sha256: str
    base: Mapping[str, Any]
    model: str
    pipeline: str
    names: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    loss: float | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    parameters: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what a folder says; None if it says nothing.

        Raises:
            UserError: The file is damaged.
        """
        file = folder / RECORD
        if not file.is_file():
            return None
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            learnt = tuple(values.get("learnt", ()))
            record = cls(**values | {"classes": tuple(values["classes"]), "learnt": learnt})
            if not all(isinstance(word, str) for pair in record.names.items() for word in pair):
                raise TypeError("names must be texts")
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{file}: must be what sip.adapt writes ({reason_of(error)}); delete the folder, "
                "and run sip.adapt again"
            ) from error
        return record

    def write(self, folder: Path) -> None:
        """Write the file; with it the folder is whole."""
        write_atomically(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")

    def is_of(self, base: Mapping[str, Any], parameters: float | None = None) -> bool:
        """Return whether it is an adapter of the model that a recipe knows by `base`.

        A model in a folder and one from the hub may be the same if they have as many parameters;
        those of the hub's are known in millions before they are downloaded.

        Args:
            base: What the recipe knows the other model by.
            parameters: Number of the other model's; None if nobody knows.
        """
        for key in ("sha256", "revision"):
            if key in self.base and key in base:
                same_name = key == "sha256" or self.base.get("name") == base.get("name")
                return same_name and bool(self.base[key] == base[key])
        if self.parameters is None or parameters is None:
            return True
        return math.isclose(self.parameters, parameters, rel_tol=SAME_SIZE)
