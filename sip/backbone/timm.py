"""Any model of timm (Apache-2.0), from scratch or pre-trained.

Weights lie in timm's own hub layout (`config.json` and `model.safetensors`, as written by
`timm.models.save_for_hf`): a folder of this repository and a snapshot of the hub are read by the
same code. The head is always fresh, also where the number of classes happens to agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from torch import nn

from sip.core.errors import UserError
from sip.weights.checksums import check_hub
from sip.weights.layout import read_json
from sip.weights.source import require, weights_folder, weights_recipe

MAX_REASON = 200  # characters of a library's error that are passed on


@dataclass(frozen=True)
class Stem:
    """The first layers of a ResNet for small pictures: a 3x3 convolution, pooled or not."""

    stride: int
    pool: bool


# timm's own ResNet stem (7x7 stride 2, max-pool) is made for 224 px and leaves 8x8 of 32x32 px.
STEMS = {
    "3x3_s1": Stem(stride=1, pool=False),
    "3x3_s2": Stem(stride=2, pool=False),
    "3x3_s2_pool": Stem(stride=2, pool=True),
}


class Timm:
    """A timm model.

    Args:
        name: timm's name, with the tag of the weights where they come from the hub.
        weights: None (from scratch), "default" (timm's pre-trained ones of that name, from the
            hub's local cache), or a folder in timm's hub layout.
        revision: Of the weights on the hub; None for their newest.
        stem: One of `STEMS` in place of a ResNet's own, or None.
        patch_size: Side of a ViT's patches, px, in place of the model's own, or None.
        drop_path: Rate of stochastic depth while training, in [0, 1].
        input_size: Side of the pictures, px.
        mean: Per channel, of pixels in [0, 1]; None for what the weights were trained with.
        std: As `mean`.

    Raises:
        UserError: No such stem, or a stem or a patch size on pre-trained weights.
    """

    def __init__(
        self,
        name: str,
        weights: str | None,
        revision: str | None,
        stem: str | None,
        patch_size: int | None,
        drop_path: float,
        input_size: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        if stem is not None and stem not in STEMS:
            raise UserError(f"backbone.stem: expected null or one of {sorted(STEMS)}, got {stem!r}")
        for key, value in (("stem", stem), ("patch_size", patch_size)):
            if value is not None and weights is not None:
                raise UserError(
                    f"backbone.{key}: {value!r} has no pre-trained weights; set {key} or weights "
                    "to null"
                )
        self.name = name
        self.weights = weights
        self.revision = revision
        self.stem = stem
        self.patch_size = patch_size
        self.drop_path = drop_path
        self.input_size = input_size
        self._mean = mean
        self._std = std

    @property
    def pretrained(self) -> bool:
        """False: from scratch."""
        return self.weights is not None

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of pixels in [0, 1]."""
        return tuple(self._mean if self._mean is not None else self._pretrained_cfg()["mean"])

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of pixels in [0, 1]."""
        return tuple(self._std if self._std is not None else self._pretrained_cfg()["std"])

    def recipe(self) -> dict:
        """Return everything that decides the network at the start of training."""
        source = self._source()
        return {
            "class": "sip.backbone.timm.Timm",
            "version": 1,
            "name": self.name,
            "stem": self.stem,
            **({} if self.patch_size is None else {"patch_size": self.patch_size}),
            "drop_path": self.drop_path,
            "input_size": self.input_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "weights": weights_recipe(source, self.revision) if source else None,
        }

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not, or timm knows no such model.
        """
        source = self._source()
        if source:
            require(source, self.revision)

    def create(self, num_classes: int) -> nn.Module:
        """Return the network with a fresh head of `num_classes`.

        Raises:
            UserError: As `require`; or weights, stem or picture size do not fit the model.
        """
        source = self._source()
        model = self._from_folder(source) if source else self._from_scratch(num_classes)
        if source:
            model.reset_classifier(num_classes)  # type: ignore[operator]
        require_whole_patches(model, self.input_size)
        return model

    def _from_scratch(self, num_classes: int) -> nn.Module:
        config = self._pretrained_cfg()
        options = self._options(config["input_size"], config)
        if self.patch_size is not None:
            options["patch_size"] = self.patch_size
        try:
            model = timm.create_model(self.name, num_classes=num_classes, **options)
        except TypeError as error:  # of a constructor without that argument
            if self.patch_size is None:
                raise
            raise UserError(
                f"backbone.patch_size: {self.name} has none to change ({error}); set it to null"
            ) from error
        if self.stem is not None:
            replace_stem(model, self.stem)
        return model

    def _from_folder(self, source: str) -> nn.Module:
        folder = weights_folder(source, self.revision)
        check_hub(folder)
        stored = read_config(folder)
        if stored["architecture"] != self.name.split(".")[0]:
            raise UserError(
                f"backbone.name: expected {stored['architecture']!r}, which the weights in "
                f"{folder} are of, got {self.name!r}"
            )
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
        known = self._known()
        if self.weights != "default":
            return self.weights
        return known.hf_hub_id

    def _known(self) -> Any:
        """Return what timm knows of the name."""
        known = timm.is_model(self.name) and timm.get_pretrained_cfg(self.name)
        if not known:
            near = get_close_matches(self.name, timm.list_models())
            raise UserError(
                f"backbone.name: timm {timm.__version__} has no model {self.name!r}; "
                f"near names: {', '.join(near) or 'none'}"
            )
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
            f"backbone.weights: expected architecture and pretrained_cfg in {folder}/config.json, "
            "as timm writes it, came another kind of model; set other weights"
        )
    return stored


def require_whole_patches(model: nn.Module, input_size: int) -> None:
    """Check that a ViT's patches fill the picture; timm would leave out a margin without a word.

    Raises:
        UserError: They do not.
    """
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if not isinstance(patch, tuple) or not any(input_size % side for side in patch):
        return
    side = max(patch)
    less = input_size // side * side
    sizes = f"{less} or {less + side}" if less else f"{side}"
    raise UserError(
        f"backbone.input_size: expected a multiple of the patches' {side} px, got {input_size}; "
        f"set backbone.input_size={sizes}, or, from scratch, another backbone.patch_size"
    )


def replace_stem(model: nn.Module, stem: str) -> None:
    """Put a stem of `STEMS` in the place of a ResNet's own, freshly initialised as timm does.

    Raises:
        UserError: The model has no single convolution and max-pool to replace.
    """
    conv = getattr(model, "conv1", None)
    if not isinstance(conv, nn.Conv2d) or not isinstance(
        getattr(model, "maxpool", None), nn.Module
    ):
        raise UserError(
            f"backbone.stem: expected a ResNet with conv1 and maxpool, got a "
            f"{type(model).__name__}; set backbone.stem=null"
        )
    new = STEMS[stem]
    model.conv1 = nn.Conv2d(3, conv.out_channels, 3, new.stride, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if not new.pool:
        model.maxpool = nn.Identity()
