"""Any model of timm (Apache-2.0), from scratch or pre-trained.

Weights lie in timm's own hub layout (`config.json` and `model.safetensors`, as written by
`timm.models.save_for_hf`): a folder of this repository and a snapshot of the hub are read by the
same code, and so is the classifier of a run. The head is fresh, even if the number of classes
happens to agree; only that of a run's classifier is kept, if the class names are equal.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sip.backbone.saved import OURS, describe, find, load_network, read_config
from sip.core.component import Component, component, known_by, refuse
from sip.core.errors import UserError
from sip.core.paths import require_run
from sip.core.progress import say
from sip.core.ranges import Count, Positive, Share
from sip.core.text import reason_of
from sip.weights.checksums import check_hub
from sip.weights.loaded import LoadedWeights
from sip.weights.packages import PACKAGES, package_folder, package_recipe, require_package
from sip.weights.source import require, resolve, weights_folder, weights_recipe

if TYPE_CHECKING:
    from torch import nn

OTHER_SHAPE = "the weights are of another one; set it or backbone.weights to null"
PACKAGE = "package"  # of backbone.weights: those of `sip.weights.packages`
MAX_REASON = 200  # characters of a library's error that are passed on
Channels = Annotated[Sequence[Share], Field(min_length=3, max_length=3)]
Deviations = Annotated[Sequence[Positive], Field(min_length=3, max_length=3)]
# What timm says of a model's published weights.
OF_WEIGHTS = ("tag", "license", "origin_url", "paper_ids", "paper_name", "url", "hf_hub_id")


@component
class Timm(Component):
    """A timm model.

    Args:
        name: timm's name, with the tag of the weights if they come from the hub.
        weights: None (from scratch), "default" (timm's pre-trained ones of that name, from the
            hub's local cache), "package" (those of a Python package, see `sip.weights.packages`),
            or a folder: of a run, or in timm's hub layout.
        revision: Revision of the weights on the hub; None for their newest.
        stem: One of `sip.backbone.stems.STEMS` instead of a ResNet's own; None for its own, or for
            that of the run whose weights are taken.
        patch_size: Side of a ViT's patches, px; None as for `stem`.
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
        if self.weights == PACKAGE and self.name not in PACKAGES:
            rule = f"null, default or a folder for {self.name}"
            fix = f"packages bring weights of {', '.join(PACKAGES)}"
            raise refuse("backbone.weights", rule, self.weights, fix)
        for key in ("stem", "patch_size"):
            value = getattr(self, key)
            if value is not None and self.weights == "default":
                raise refuse(key, "null if backbone.weights is set", value, OTHER_SHAPE)

    @property
    def pretrained(self) -> bool:
        """Whether the weights are pre-trained; False: from scratch."""
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
        """Identity of the weights: content of a folder, or name and revision on the hub."""
        if self.weights == PACKAGE:
            return package_recipe(self.name)
        source = self._source()
        return weights_recipe(source, self.revision) if source else None

    def loaded(self) -> LoadedWeights | None:
        """Return the weights that it loads; None from scratch."""
        source = self._source()
        return LoadedWeights.of(source, self.revision) if source else None

    def require(self) -> None:
        """Check that the weights are on this disk, without network.

        Raises:
            UserError: They are not, or timm knows no such model.
        """
        self._known()
        if self.weights == PACKAGE:
            require_package(self.name)
        elif source := self._source():
            require(source, self.revision, check=self._require_same, kind="timm")

    def create(self, num_classes: int, class_names: Sequence[str] = ()) -> "nn.Module":
        """Return the network with a fresh head of `num_classes`, or that of a run's classifier.

        Args:
            class_names: By label; the head of a run's classifier is kept if it is for the same.

        Raises:
            UserError: As `require`; or weights, stem or image size do not fit the model.
        """
        source = self._source()
        model = self._from_folder(source) if source else self._from_scratch(num_classes)
        if source and not self._keeps_head(source, class_names):
            model.reset_classifier(num_classes)  # type: ignore[operator]
        require_whole_patches(model, self.input_size)
        return model

    def describe(self, network: "nn.Module", class_names: Sequence[str]) -> dict[str, Any]:
        """Return the configuration that is stored next to the trained weights of a network."""
        config = describe(network, class_names, self.input_size, *self.normalisation)
        for key in () if self.pretrained else OF_WEIGHTS:
            config["pretrained_cfg"].pop(key, None)
        return config

    def _keeps_head(self, source: str, class_names: Sequence[str]) -> bool:
        """Return whether the weights have a head for these classes, and say so."""
        stored = read_config(weights_folder(source, self.revision))
        if OURS not in stored or not class_names:
            return False
        kept = stored["label_names"] == list(class_names)
        what = "its head is kept" if kept else "new head, since its classes are different"
        say("backbone", f"weights of {self.weights}; {what}")
        return kept

    def _from_scratch(self, num_classes: int) -> "nn.Module":
        import timm

        from sip.backbone.stems import replace_stem

        config = self._pretrained_cfg()
        options = self._options(config["input_size"], config)
        if self.patch_size is not None:
            options["patch_size"] = self.patch_size
        try:
            model = timm.create_model(self.name, num_classes=num_classes, **options)
        except TypeError as error:  # of a constructor without that argument
            if self.drop_path and "drop_path_rate" in str(error):
                rule = f"0 for {self.name}, which has no stochastic depth"
                raise refuse("backbone.drop_path", rule, self.drop_path) from error
            if self.patch_size is None:
                raise
            rule = f"null for {self.name}, which has no patches to change ({error})"
            raise refuse("backbone.patch_size", rule, self.patch_size) from error
        if self.stem is not None:
            replace_stem(model, self.stem)
        return model

    def _from_folder(self, source: str) -> "nn.Module":
        from safetensors import SafetensorError

        folder = weights_folder(source, self.revision)
        check_hub(folder)
        self._require_same(folder)
        stored = read_config(folder)
        config = stored["pretrained_cfg"]
        made_for = stored.get("model_args", {}).get("img_size")
        if made_for is not None:  # timm's own note of a fixed size is lost on such a model
            config = {**config, "fixed_input_size": True}
        options = self._options(made_for or config["input_size"], config)
        try:
            return load_network(folder, **options)
        except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
            reason = reason_of(error)[:MAX_REASON]
            raise UserError(
                f"backbone.weights: the weights in {folder} are not those of the model that its "
                f"config.json states ({reason}); copy a complete folder there, or set other weights"
            ) from error

    def _require_same(self, folder: Path) -> None:
        """Refuse weights of another model, or of another stem or patch size than is set."""
        stored = read_config(folder)
        ours = stored.get(OURS) or {}
        shape = {"stem": ours.get("stem")}
        if ours:
            shape["patch_size"] = stored.get("model_args", {}).get("patch_size")
        architecture = stored["architecture"].removesuffix(f"_{shape['stem']}")
        if architecture != self.name.split(".")[0]:
            rule = f"{architecture!r}, which the weights in {folder} are of"
            fix = "choose the backbone that they were trained with, such as backbone=resnet_mini"
            raise refuse("backbone.name", rule, self.name, fix)
        for key in ("stem", "patch_size"):
            value, allowed = getattr(self, key), shape.get(key)
            if value not in (None, allowed):
                rule = f"null{f' or {allowed}' if allowed else ''} with these backbone.weights"
                raise refuse(f"backbone.{key}", rule, value, OTHER_SHAPE)

    def _options(self, input_size: Sequence[int], config: dict) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.drop_path:
            options["drop_path_rate"] = self.drop_path
        if config.get("fixed_input_size") and input_size[-1] != self.input_size:
            options["img_size"] = self.input_size  # the position embeddings are resampled
        return options

    def _source(self) -> str | None:
        """Return the folder or the hub's name of the weights; None from scratch."""
        if self.weights == "default":
            return self._known().hf_hub_id
        if self.weights == PACKAGE:
            return str(package_folder(self.name))
        if self.weights is None:
            return None
        place = Path(resolve(self.weights))
        if not place.exists() and any(place.parent.glob("*/summary.json")):  # no name on the hub
            require_run(place, "backbone.weights")
        return str(find(place))

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
        if self.weights in (None, "default", PACKAGE):
            return self._known().to_dict()
        return read_config(weights_folder(str(self._source()), self.revision))["pretrained_cfg"]


def require_whole_patches(model: "nn.Module", input_size: int) -> None:
    """Check that a ViT's patches fill the image; timm would crop a margin silently.

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
