"""Which weights a run loaded: for its summary, not its recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from sip.core.errors import UserError
from sip.weights.checksums import known_sha256
from sip.weights.hub import COMMIT
from sip.weights.layout import Parts, files_of, needed_weights
from sip.weights.source import model_folder, weights_folder


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """The weights of one model.

    Attributes:
        source: Folder or hub name, as configured.
        revision: As configured; None for the newest, and for folders.
        commit: Commit of the hub's repository; None for folders.
        sha256: File, relative to the model's folder -> its SHA-256.
    """

    source: str
    revision: str | None
    commit: str | None
    sha256: Mapping[str, str]

    @classmethod
    def of(
        cls,
        source: str,
        revision: str | None,
        variant: str | None = None,
        without: Sequence[str] = (),
        file: str | None = None,
    ) -> Self | None:
        """Return what is on this disk; None if only rows of a cache were read.

        Args:
            source: Folder or hub name.
            revision: Revision of the hub model; None for its newest.
            variant: Such as "fp16", of the weight files.
            without: Components of a diffusers pipeline that are not loaded.
            file: The one file that is loaded, such as an adapter's.
        """
        parts = Parts(variant, tuple(without), file)
        try:
            folder = weights_folder(source, revision, variant, without, file)
            name = model_folder(source, revision, parts).name  # not that of a converted copy
        except UserError:
            return None
        files = needed_weights(folder, files_of(folder), parts)
        commit = name if COMMIT.fullmatch(name) else None
        hashes = {file: known_sha256(folder / file) for file in files}
        return cls(source=source, revision=revision, commit=commit, sha256=hashes)

    def line(self) -> str:
        """Return what identifies the weights in one line."""
        hashes = ", ".join(f"{file} {sha256[:12]}" for file, sha256 in self.sha256.items())
        version = f" at {self.commit[:12]}" if self.commit else ""
        name = Path(self.source).name if Path(self.source).is_absolute() else self.source
        return f"{name}{version}: {hashes}"


@runtime_checkable
class Loads(Protocol):
    """A component that loads weights."""

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads."""


def loaded_weights(components: Mapping[Any, object]) -> dict[str, LoadedWeights]:
    """Return the weights of the components that load some, by the stage's name.

    Those of a generator's adapter are "images.lora", of its other autoencoder "images.vae", of its
    ControlNet "images.controlnet", and of what reads a condition "images.condition".
    """
    parts = dict(components)
    named = {"lora": "adapter", "vae": "autoencoder", "controlnet": "control"}
    for key, attribute in {**named, "condition": "condition"}.items():
        parts |= {
            f"{name}.{key}": getattr(part, attribute, None) for name, part in components.items()
        }
    found = {name: part.loaded() for name, part in parts.items() if isinstance(part, Loads)}
    return {name: weights for name, weights in found.items() if weights is not None}
