"""Another autoencoder in the place of the model's own: a tiny one, or one of the same latents.

Tiny ones (TAESD, Ollin Boer Bohan, github.com/madebyollin/taesd) encode and decode at a few
percent of the work. They encode to a point and not to a distribution, so no noise chooses from it.
"""

from pathlib import Path
from typing import Any

from sip.core.component import Component, component, known_by
from sip.core.errors import UserError
from sip.images.folder import PipelineFolder
from sip.weights.layout import read_json
from sip.weights.loaded import LoadedWeights
from sip.weights.source import require, weights_folder, weights_recipe

TINY, FULL = "AutoencoderTiny", "AutoencoderKL"
# Tiny autoencoder -> the scaling factor of the one whose latents it knows; its own is always 1.
KNOWN = {"taesd": 0.18215, "taesdxl": 0.13025, "taesd3": 1.5305, "taef1": 0.3611}
OF = "madebyollin/taesd for Stable Diffusion 1 and 2, taesdxl for XL, taesd3 for 3, taef1 for FLUX"


@component
class Autoencoder(Component):
    """A folder with `config.json` and weights, local or in the hub's cache.

    Args:
        model: Folder or hub name.
        revision: Revision of the hub model; None for folders.
    """

    model: str = known_by("weights")
    revision: str | None = known_by("weights")

    @property
    def weights(self) -> dict[str, Any]:
        """What the recipe knows it by."""
        return weights_recipe(self.model, self.revision)

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads."""
        return LoadedWeights.of(self.model, self.revision)

    def require(self, model: PipelineFolder) -> None:
        """Make sure that it is on this disk and fits; download it from the hub, unless offline.

        Args:
            model: Folder of the model whose autoencoder it replaces.

        Raises:
            UserError: It is not, or has other latents.
        """
        require(
            self.model,
            self.revision,
            check=lambda folder: self._require_fit(folder, model),
            kind="autoencoder",
        )

    def folder(self) -> Path:
        """Return the folder.

        Raises:
            UserError: It is not on this disk.
        """
        return weights_folder(self.model, self.revision)

    @property
    def is_tiny(self) -> bool:
        """Whether it encodes to a point."""
        return self.kind == TINY

    @property
    def kind(self) -> str:
        """Name of its class in diffusers."""
        return str(read_json(self.folder() / "config.json").get("_class_name"))

    def _require_fit(self, folder: Path, model: PipelineFolder) -> None:
        """Refuse one that encodes to other latents than the model's own."""
        config, own = read_json(folder / "config.json"), model.config("vae")
        kind, replaced = config.get("_class_name"), own.get("_class_name")
        if replaced != FULL:
            raise self._refused(f"null for a {model.pipeline}, whose autoencoder is {replaced}", "")
        if kind not in (TINY, FULL):
            raise self._refused(f"of the class {TINY} or {FULL}", f", a {kind}")
        latents, wanted = _latents(config), _latents(own)
        if latents != wanted:
            own_has = "one with {} channels and {} px along a latent as the model's own"
            raise self._refused(own_has.format(*wanted), " with {} and {}".format(*latents))
        factor = own.get("scaling_factor")
        given = config.get("scaling_factor") if kind == FULL else KNOWN.get(Path(self.model).name)
        if given is not None and given != factor:
            rule = f"one for latents of the scaling factor {factor} as the model's own"
            raise self._refused(rule, f" for {given}")

    def _refused(self, rule: str, got: str) -> UserError:
        return UserError(f"images.vae: must be {rule}, got {self.model}{got}; set null, or {OF}")


def _latents(config: dict[str, Any]) -> tuple[int, int]:
    """Return channels, and px of the image along a latent."""
    if config.get("_class_name") == TINY:
        levels = len(config.get("decoder_block_out_channels", range(4)))
    else:
        levels = len(config["block_out_channels"])
    return int(config.get("latent_channels", 4)), 2 ** (levels - 1)
