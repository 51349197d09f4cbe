"""Any model of timm (Apache-2.0), from scratch or pre-trained.

Weights lie in timm's own hub layout (`config.json` and `model.safetensors`, as written by
`timm.models.save_for_hf`): a folder of this repository and a snapshot of the hub are read by the
same code. The head is always fresh, even if the number of classes happens to agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sip.core.component import Component, component, known_by, refuse
from sip.core.errors import UserError
from sip.core.ranges import Count, Positive, Share
from sip.weights.checksums import check_hub
from sip.weights.layout import read_json
from sip.weights.source import require, weights_folder, weights_recipe

if TYPE_CHECKING:
    from torch import nn

MAX_REASON = 200  # characters of a library's error that are passed on
Channels = Annotated[Sequence[Share], Field(min_length=3, max_length=3)]
Deviations = Annotated[Sequence[Positive], Field(min_length=3, max_length=3)]


@dataclass(frozen=True)
class Stem:
    """The first layers of a ResNet for small images: a 3x3 convolution, pooled or not."""

    stride: int
    pool: bool


# timm's own ResNet stem (7x7 stride 2, max-pool) is made for 224 px and leaves 8x8 of 32x32 px.
STEMS = {
    "3x3_s1": Stem(stride=1, pool=False),
    "3x3_s2": Stem(stride=2, pool=False),
    "3x3_s2_pool": Stem(stride=2, pool=True),
}


@component
class Timm(Component):
    """A timm model.

    Args:
        name: timm's name, with the tag of the weights if they come from the hub.
        weights: None (from scratch), "default" (timm's pre-trained ones of that name, from the
            hub's local cache), or a folder in timm's hub layout.
        revision: Of the weights on the hub; None for their newest.
        stem: One of `STEMS` instead of a ResNet's own, or None.
        patch_size: Side of a ViT's patches, px, instead of the model's own, or None.
        drop_path: Rate of stochastic depth while training.
        input_size: Side of the images, px.
        mean: Per channel, of pixels in [0, 1]; None for what the weights were trained with.
        std: As `mean`.
    """

    name: str
    weights: str | None = known_by("source")
    revision: str | None = known_by("source")
    stem: Literal["3x3_s1", "3x3_s2", "3x3_s2_pool"] | None
    patch_size: Count | None
    drop_path: Share
    input_size: Count
    mean: Channels | None
    std: Deviations | None

    def __post_init__(self) -> None:
        for key in ("stem", "patch_size"):
            value = getattr(self, key)
            if value is not None and self.weights is not None:
                rule = "null if backbone.weights is set"
                fix = f"no pre-trained weights are of that {key}; set one of the two to null"
                raise refuse(key, rule, value, fix)

    @property
    def pretrained(self) -> bool:
        """False: from scratch."""
        return self.weights is not None

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation, each per channel, of pixels in [0, 1]."""
        mean, std = (
            given if given is not None else self._pretrained_cfg()[name]
            for name, given in (("mean", self.mean), ("std", self.std))
        )
        return tuple(mean), tuple(std)

    @property
    def source(self) -> dict | None:
        """What the weights are known by: content of a folder, or name and revision on the hub."""
        source = self._source()
        return weights_recipe(source, self.revision) if source else None

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not, or timm knows no such model.
        """
        self._known()
        if source := self._source():
            require(source, self.revision)

    def create(self, num_classes: int) -> "nn.Module":
        """Return the network with a fresh head of `num_classes`.

        Raises:
            UserError: As `require`; or weights, stem or image size do not fit the model.
        """
        source = self._source()
        model = self._from_folder(source) if source else self._from_scratch(num_classes)
        if source:
            model.reset_classifier(num_classes)  # type: ignore[operator]
        require_whole_patches(model, self.input_size)
        return model

    def _from_scratch(self, num_classes: int) -> "nn.Module":
        import timm

        config = self._pretrained_cfg()
        options = self._options(config["input_size"], config)
        if self.patch_size is not None:
            options["patch_size"] = self.patch_size
        try:
            model = timm.create_model(self.name, num_classes=num_classes, **options)
        except TypeError as error:  # of a constructor without that argument
            if self.patch_size is None:
                raise
            rule = f"null for {self.name}, which has no patches to change ({error})"
            raise refuse("backbone.patch_size", rule, self.patch_size) from error
        if self.stem is not None:
            replace_stem(model, self.stem)
        return model

    def _from_folder(self, source: str) -> "nn.Module":
        import timm
        from safetensors import SafetensorError

        folder = weights_folder(source, self.revision)
        check_hub(folder)
        stored = read_config(folder)
        if stored["architecture"] != self.name.split(".")[0]:
            rule = f"{stored['architecture']!r}, which the weights in {folder} are of"
            raise refuse("backbone.name", rule, self.name)
        config = stored["pretrained_cfg"]
        # The stored head is read too; `create` puts a fresh one in its place.
        made_for = stored.get("model_args", {}).get("img_size")
        if made_for is not None:  # timm's own note of a fixed size is lost on such a model
            config = {**config, "fixed_input_size": True}
        options = self._options(made_for or config["input_size"], config)
        try:
            return timm.create_model(f"local-dir:{folder}", pretrained=True, **options)
        except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:MAX_REASON]
            raise UserError(
                f"backbone.weights: the weights in {folder} are not those of the model that its "
                f"config.json states ({reason}); copy a complete folder there, or set others"
            ) from error

    def _options(self, input_size: Sequence[int], config: dict) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.drop_path:
            options["drop_path_rate"] = self.drop_path
        if config.get("fixed_input_size") and input_size[-1] != self.input_size:
            options["img_size"] = self.input_size  # the position embeddings are resampled
        return options

    def _source(self) -> str | None:
        """Return the folder or the hub's name of the weights; None from scratch."""
        return self._known().hf_hub_id if self.weights == "default" else self.weights

    def _known(self) -> Any:
        """Return what timm knows of the name.

        Raises:
            UserError: It does not know it.
        """
        import timm

        known = timm.is_model(self.name) and timm.get_pretrained_cfg(self.name)
        if not known:
            near = get_close_matches(self.name, timm.list_models())
            fix = f"near names: {', '.join(near) or 'none'}"
            raise refuse("backbone.name", f"a model of timm {timm.__version__}", self.name, fix)
        return known

    def _pretrained_cfg(self) -> dict[str, Any]:
        if self.weights in (None, "default"):
            return self._known().to_dict()
        return read_config(weights_folder(str(self.weights), self.revision))["pretrained_cfg"]


@cache
def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's `config.json`.

    Raises:
        UserError: It is not one of timm's.
    """
    stored = read_json(folder / "config.json")
    architecture, config = stored.get("architecture"), stored.get("pretrained_cfg")
    if not isinstance(architecture, str) or not isinstance(config, dict):
        raise UserError(
            f"backbone.weights: must have architecture and pretrained_cfg in {folder}/config.json, "
            "as timm writes it, got another kind of model; set other weights"
        )
    return stored


def require_whole_patches(model: "nn.Module", input_size: int) -> None:
    """Check that a ViT's patches fill the image; timm would leave out a margin without a word.

    Raises:
        UserError: They do not.
    """
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if not isinstance(patch, tuple) or not any(input_size % side for side in patch):
        return
    side = max(patch)
    less = input_size // side * side
    sizes = f"{less} or {less + side}" if less else f"{side}"
    fix = f"set backbone.input_size={sizes}, or, from scratch, another backbone.patch_size"
    rule = f"a multiple of the patches' {side} px"
    raise refuse("backbone.input_size", rule, input_size, fix)


def replace_stem(model: "nn.Module", stem: str) -> None:
    """Put a stem of `STEMS` in the place of a ResNet's own, freshly initialised as timm does.

    Raises:
        UserError: The model has no single convolution and max-pool to replace.
    """
    from torch import nn

    conv = getattr(model, "conv1", None)
    if not isinstance(conv, nn.Conv2d) or not isinstance(
        getattr(model, "maxpool", None), nn.Module
    ):
        kind = type(model).__name__
        raise refuse("backbone.stem", f"null for a {kind}, which is no ResNet with a stem", stem)
    new = STEMS[stem]
    model.conv1 = nn.Conv2d(3, conv.out_channels, 3, new.stride, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if not new.pool:
        model.maxpool = nn.Identity()
