"""A ControlNet: which one, where it lies, and whether it fits the model."""

from pathlib import Path
from typing import Any

from sip.core.component import Component, component, known_by
from sip.core.errors import UserError
from sip.images.folder import PipelineFolder
from sip.weights.layout import CONFIG, read_json
from sip.weights.loaded import LoadedWeights
from sip.weights.source import require, weights_folder, weights_recipe

KIND = "ControlNetModel"
# What it shares with the U-Net whose features it is added to.
SHARED = ("block_out_channels", "cross_attention_dim", "layers_per_block", "addition_embed_type")


@component
class ControlWeights(Component):
    """A folder with `config.json` and weights, local or in the hub's cache.

    Args:
        model: Folder or hub name.
        revision: Revision of the hub model; None for folders.
        variant: Variant of the weight files, such as "fp16"; None for the plain ones.
    """

    model: str = known_by("weights")
    revision: str | None = known_by("weights")
    variant: str | None = known_by("weights")

    @property
    def weights(self) -> dict[str, Any]:
        """What the recipe knows it by."""
        return weights_recipe(self.model, self.revision, self.variant)

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads."""
        return LoadedWeights.of(self.model, self.revision, self.variant)

    def require(self, model: PipelineFolder | None) -> None:
        """Make sure that it is on this disk and fits; download it from the hub, unless offline.

        Args:
            model: Folder of the model that it controls; None if that is not on this disk.

        Raises:
            UserError: It is not, or is another model's.
        """
        require(
            self.model,
            self.revision,
            self.variant,
            check=None if model is None else lambda folder: self._require_fit(folder, model),
            kind="autoencoder",
        )

    def folder(self) -> Path:
        """Return the folder.

        Raises:
            UserError: It is not on this disk.
        """
        return weights_folder(self.model, self.revision, self.variant)

    def _require_fit(self, folder: Path, model: PipelineFolder) -> None:
        config, own = read_json(folder / CONFIG), model.config("unet")
        if (kind := config.get("_class_name")) != KIND:
            raise UserError(
                f"images.controlnet: must be a {KIND} of diffusers, got {kind or 'no class'} in "
                f"{folder / CONFIG}; set another one"
            )
        differ = [name for name in SHARED if config.get(name) != own.get(name)]
        if differ:
            name = differ[0]
            raise UserError(
                f"images.controlnet: must be one for a {model.pipeline} with {name} "
                f"{own.get(name)}, got {self.model} with {config.get(name)}; set one that was "
                "trained for this model"
            )
        scale = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
        if scale != model.vae_scale:
            raise UserError(
                f"images.controlnet: must be one whose condition has {model.vae_scale} px along a "
                f"latent, got {self.model} with {scale}; set one that was trained for this model"
            )
