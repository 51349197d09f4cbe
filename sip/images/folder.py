"""What a model folder says about itself before anything is loaded."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sip.core.errors import UserError
from sip.weights.layout import read_json


@dataclass(frozen=True)
class PipelineFolder:
    """A folder in the layout of diffusers: `model_index.json` and a subfolder for each part.

    Attributes:
        path: The folder.
        timestep_spacing: Takes the place of what the scheduler's configuration says, unless None.
    """

    path: Path
    timestep_spacing: str | None = None

    @cached_property
    def index(self) -> dict[str, Any]:
        """Part -> [library, class], and the pipeline's own settings."""
        return self._read("model_index.json")

    @property
    def pipeline(self) -> str:
        """Name of diffusers' pipeline class."""
        return str(self.index.get("_class_name"))

    @property
    def vae_scale(self) -> int:
        """Pixels of the image along a pixel of the latents."""
        levels: int = len(self.config("vae")["block_out_channels"])
        return 2 ** (levels - 1)

    def has(self, part: str) -> bool:
        """Return whether the folder names this part and holds it."""
        return bool((self.index.get(part) or [None])[0]) and (self.path / part).is_dir()

    def config(self, part: str) -> dict[str, Any]:
        """Return a part's configuration."""
        if part != "scheduler":
            return self._read(f"{part}/config.json")
        return self._read("scheduler/scheduler_config.json") | spaced(self.timestep_spacing)

    def _read(self, name: str) -> dict[str, Any]:
        if not (self.path / name).is_file():
            raise UserError(
                f"images.model: must be a diffusers pipeline with the file {name}, got {self.path} "
                "without it; set another model"
            )
        return read_json(self.path / name)


def spaced(timestep_spacing: str | None) -> dict[str, str]:
    """Return the part of a scheduler's configuration that an option replaces."""
    return {} if timestep_spacing is None else {"timestep_spacing": timestep_spacing}
