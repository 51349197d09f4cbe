"""The classifier of a run as one ONNX file, compared with PyTorch before it is written.

Input `images`: (N, 3, S, S), float32, RGB, pixels in [0, 1]; any N. Mean and standard deviation are
removed inside. Output `logits`: (N, classes). The file's metadata hold the class names and how an
image is cut and scaled to S x S.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sip.backbone.saved import SavedClassifier
from sip.core.errors import UserError
from sip.core.extras import install_extras
from sip.core.files import atomic_file, check_output, plain_disk_errors
from sip.core.text import reason_of

OPSET = (
    18  # the first that torch's exporter writes without a conversion; onnxruntime >= 1.14 reads it
)
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of the logits, absolute and relative
MAX_REASON = 200  # characters of torch's error that are passed on
NUM_IMAGES = 5  # that both compute; another number than the exporter sees
INPUT = "RGB, the central square scaled (bicubic) to the size of the input, pixels in [0, 1]"


def export_onnx(run: Path, output: Path) -> float:
    """Write the classifier of a run; return the largest difference of a logit to PyTorch's.

    Raises:
        UserError: The run has no classifier, a package is missing, the output is there, the network
            cannot be exported, or gives other logits.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"format=onnx: needs the packages {', '.join(missing)}; {install_extras('onnx')}"
        )
    if output.suffix != ".onnx" or output.exists():
        raise UserError(f"output: must be a new file that ends in .onnx, got {output}")
    check_output(output)
    saved = SavedClassifier.of(run)
    network = Normalised(saved.network(), *saved.normalisation).eval()
    size = (NUM_IMAGES, 3, saved.input_size, saved.input_size)
    images = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with plain_disk_errors(output, "output"), atomic_file(output) as part:
        _write(network, images[:2], metadata(saved), part)
        difference = compare(network, part, images)
    return difference


class Normalised(nn.Module):
    """A network behind the removal of mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, 3, S, S) in [0, 1]."""
        return self.network((images - self.mean) / self.std)


def metadata(saved: SavedClassifier) -> dict[str, str]:
    """Return the metadata of the file."""
    return {
        "class_names": json.dumps(saved.class_names, ensure_ascii=False),
        "input": INPUT,
        "input_size": str(saved.input_size),
        "architecture": saved.config["architecture"],
    }


def compare(network: nn.Module, file: Path, images: Tensor) -> float:
    """Return the largest difference of a logit between onnxruntime and PyTorch.

    Raises:
        UserError: It is above the tolerance.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    theirs = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    with torch.inference_mode():
        ours = network(images)
    difference = float((ours - theirs).abs().max())
    if not torch.allclose(ours, theirs, TOLERANCE, TOLERANCE):
        raise UserError(
            f"format=onnx: the logits must be PyTorch's up to {TOLERANCE:g}, got a difference of "
            f"{difference:.2g} in onnxruntime {onnxruntime.__version__}; nothing was written"
        )
    return difference


def _write(network: nn.Module, images: Tensor, facts: dict[str, str], path: Path) -> None:
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
            program.optimize()
    except Exception as error:  # of many kinds, by torch
        raise UserError(
            f"format=onnx: must be a network that torch exports, got {facts['architecture']}: "
            f"{reason_of(error)[:MAX_REASON]}; choose another backbone, or load the run with timm"
        ) from error
    with _quiet():
        program.model.metadata_props.update(facts)
        program.save(path, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks of torch's exporter off the terminal."""
    logger = logging.getLogger("torch.onnx")  # on annotations of torchvision, in torch < 2.10
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
