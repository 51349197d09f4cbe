"""Trained classifiers on disk, in timm's hub layout: `config.json` and `model.safetensors`.

    timm.create_model("local-dir:runs/<name>/classifier", pretrained=True)

gives the classifier; `config.json` also states the class names and the input transform. A network
with an unpooled stem (see `sip.backbone.stems`) needs `import sip.backbone.stems` before.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sip.core.errors import UserError
from sip.core.files import write_atomically
from sip.core.paths import require_run
from sip.weights.layout import read_json, weight_files

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = "classifier"  # in a run's folder
CONFIG, WEIGHTS = "config.json", "model.safetensors"
OURS = "sip"  # key of what only this project reads


def describe(
    network: "nn.Module",
    class_names: Sequence[str],
    input_size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """Return the content of `config.json`.

    Args:
        network: A timm model with the head for these classes.
        class_names: By label.
        input_size: Side of the images, px.
        mean, std: Per channel, of pixels in [0, 1].
    """
    from timm.models._hub import save_config_for_hf

    from sip.backbone.stems import stem_of, stored_name

    transform = {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center"}
    size = (3, input_size, input_size)
    with TemporaryDirectory() as folder:
        save_config_for_hf(
            network,
            f"{folder}/{CONFIG}",
            {"label_names": list(class_names)},
            data_config={"input_size": size, "mean": mean, "std": std, **transform},
        )
        config = read_json(Path(folder) / CONFIG)
    stem = stem_of(network)
    config["pretrained_cfg"].pop("label_descriptions", None)  # of the classes of other weights
    config["architecture"] = stored_name(config["architecture"], stem)
    return {**config, OURS: {"stem": stem}}


def save(folder: Path, config: dict[str, Any], weights: "dict[str, Tensor]") -> None:
    """Write a classifier; a reader sees the old one, the new one, or none.

    Args:
        config: What `describe` gave.
        weights: The network's state.
    """
    from sip.backbone.stems import stored_weights
    from sip.weights import sealed

    text = json.dumps(config, indent=2, ensure_ascii=False).encode()
    write_atomically(folder / CONFIG, text)
    # Last, and with a checksum of both: until then, the pair is none.
    sealed.save(stored_weights(weights, config[OURS]["stem"]), folder / WEIGHTS, text)


def find(place: Path) -> Path:
    """Return the folder of the classifier that a run's folder holds, or the folder itself."""
    inner = place / FOLDER
    return inner if (inner / CONFIG).is_file() else place


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's `config.json`.

    Raises:
        UserError: It is not one of timm's.
    """
    stored = read_json(folder / CONFIG)
    architecture, config = stored.get("architecture"), stored.get("pretrained_cfg")
    if not isinstance(architecture, str) or not isinstance(config, dict):
        raise UserError(
            f"backbone.weights: must have architecture and pretrained_cfg in {folder}/{CONFIG}, "
            "as timm writes it, got another kind of model; set other weights"
        )
    return stored


def load_network(folder: Path, **options: Any) -> "nn.Module":
    """Return the network of a folder in timm's hub layout, with its head.

    Args:
        folder: Folder of a trained classifier, or of any weights for timm.
        options: Further arguments of `timm.create_model`.

    Raises:
        DamagedError: A trained classifier is not what was written.
        Exception: Of several types, by timm: the weights do not fit the configuration.
    """
    import timm

    from sip.backbone.stems import restore_stem
    from sip.weights import sealed

    ours = read_config(folder).get(OURS)
    if ours:
        sealed.load(folder / WEIGHTS, (folder / CONFIG).read_bytes())
    # timm would choose the file itself, and take a pickle before open_clip's safetensors.
    (file,) = weight_files((path.name for path in folder.iterdir()), None)
    overlay = {"source": "", "file": str(folder / file), "custom_load": False}
    network = timm.create_model(
        f"local-dir:{folder}", pretrained=True, pretrained_cfg_overlay=overlay, **options
    )
    restore_stem(network, ours["stem"] if ours else None)
    return network


@dataclass(frozen=True)
class SavedClassifier:
    """A classifier that a run trained.

    Attributes:
        folder: Folder with `config.json` and `model.safetensors`.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not (self.config.get(OURS) and self.class_names):
            raise UserError(
                f"run: must hold a classifier that sip.train wrote, got other weights in "
                f"{self.folder}"
            )

    @classmethod
    def of(cls, place: Path) -> "SavedClassifier":
        """Return the classifier of a run's folder, or of a folder `classifier` by itself.

        Raises:
            UserError: There is none.
        """
        folder = find(place)
        if folder == place and not (place / CONFIG).is_file():
            require_run(place, "run", f"{FOLDER}/{CONFIG}")
        require_run(folder, "run", CONFIG, WEIGHTS)
        return cls(folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of `config.json`."""
        return read_config(self.folder)

    @property
    def class_names(self) -> list[str]:
        """The classes in words, by label."""
        return self.config.get("label_names", [])

    @property
    def input_size(self) -> int:
        """Side of the images, px."""
        return self.config["pretrained_cfg"]["input_size"][-1]

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation, each per channel, of pixels in [0, 1]."""
        return self.config["pretrained_cfg"]["mean"], self.config["pretrained_cfg"]["std"]

    def network(self) -> "nn.Module":
        """Return the network in evaluation mode, from normalised images to logits.

        Raises:
            DamagedError: It is not what was written.
        """
        return load_network(self.folder).eval()
