"""Score a run's classifier on the labelled images of any data set.

<run>/evaluations/<data set>-<part>-<fingerprint>/
metrics.json          metrics, number of images, recipe of the data set
per_class.csv, confusion.png
predictions.parquet   a row an image: sample_id, path, label, logits
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from sip.backbone.saved import SavedClassifier, find
from sip.core.component import component
from sip.core.errors import UserError
from sip.core.files import atomic_file, plain_disk_errors, write_atomically
from sip.core.hashing import digest
from sip.core.interrupt import graceful
from sip.core.progress import progress, say
from sip.core.ranges import Count
from sip.core.text import counted, join_first, text_table
from sip.dataset.base import Dataset, Sample
from sip.dataset.files import PARTS
from sip.dataset.labels import naming
from sip.dataset.reader import Reader
from sip.jobs.evaluate import write_classes
from sip.records.parquet import iterate_rows
from sip.records.read import IMAGES

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "evaluations"  # in the run's folder


@component
class EvaluateOptions:
    """What `conf/evaluate.yaml` says, if a data set is chosen.

    Attributes:
        run: Folder of the run.
        part: A part of the data set.
        device: Device, as torch names it, or "auto".
        batch_size: Images at a time.
        num_workers: Threads that read.
    """

    run: str
    part: Literal["test", "val", "train", "all"]
    device: str
    batch_size: Count
    num_workers: Count

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "EvaluateOptions":
        """Return the options of a configuration.

        Raises:
            UserError: One is missing or wrong.
        """
        if node["run"] is None:
            raise UserError("run: must be given with a data set; say run=runs/<name>")
        return cls(**{key: node[key] for key in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Evaluation:
    """The outcome.

    Attributes:
        folder: Folder of the files.
        num: Images.
        metrics: As `sip.metrics.classification.classification` names them.
    """

    folder: Path
    num: int
    metrics: dict[str, float]

    def table(self) -> str:
        """Return what the command prints."""
        rows = {name: f"{value:.4f}" for name, value in self.metrics.items()}
        return text_table({"images": f"{self.num:,}", **rows, "files": str(self.folder)})


def evaluate_on(
    options: EvaluateOptions, saved: SavedClassifier, dataset: Dataset, name: str
) -> Evaluation:
    """Score the classifier and write the files.

    Args:
        saved: The run's classifier.
        dataset: Its class names are matched with the run's.
        name: Name of the data set, for the folder.

    Raises:
        UserError: The data set has classes that the classifier does not know, or no images.
    """
    import torch

    from sip.classifier.predictor import Predictor, batches
    from sip.device.settings import device
    from sip.metrics.classification import classification

    _say_part(options.part, dataset)
    labels = match_classes(dataset.class_names, saved.class_names)
    parts = PARTS if options.part == "all" else (options.part,)
    samples = [sample for part in parts for sample in dataset.samples(part)]
    if not samples:
        raise UserError(
            f"part: must have images, got none in {options.part} of the data set; use part=all"
        )
    run = Path(options.run)
    place = run if find(run) != run else run.parent  # the run's, or that of its classifier
    known = _say_known(place / IMAGES, samples)
    predictor = Predictor(saved, device(options.device, "device"))
    paths = [sample.path for sample in samples]
    logits = []
    with graceful(), progress("evaluate", len(paths), "image") as bar:
        for batch in batches([predictor], paths, options.batch_size, options.num_workers):
            batch.require_all()
            logits += batch.logits
            bar.update(len(batch.paths))
    scores, truth = torch.cat(logits), torch.tensor([labels[sample.label] for sample in samples])
    metrics = classification(scores, truth)
    recipe = dataset.recipe()
    folder = place / FOLDER / f"{name}-{options.part}-{digest(recipe)[:10]}"
    record = {"part": options.part, "num_images": len(paths), **known, "metrics": metrics}
    record["dataset"] = recipe
    with plain_disk_errors(folder, "run"):
        _write_predictions(folder / "predictions.parquet", samples, truth, scores)
        write_classes(folder, scores, truth, saved.class_names)
        write_atomically(folder / "metrics.json", json.dumps(record, indent=2) + "\n")
    return Evaluation(folder, len(paths), metrics)


def _say_part(part: Literal["test", "val", "train", "all"], dataset: Dataset) -> None:
    """Print which part is scored if it was made by `split_seed`: it is only a share."""
    if part != "all" and isinstance(dataset, Reader) and dataset.made_parts:
        sizes = dataset.num_readable()
        num = sizes[part]
        text = f"{num:,} of {sum(sizes.values()):,} images are scored, the part {part} made by"
        say("evaluate", f"{text} split_seed; to score all: part=all")


def _say_known(images: Path, samples: Sequence[Sample]) -> dict[str, int]:
    """Count and print which images the run has used: on them its classifier says too much.

    Args:
        images: The run's list of images.
        samples: What is scored.

    Returns:
        "num_train" and "num_val": those that trained the classifier, and chose its checkpoint; {}
        if the run has no list.
    """
    if not images.is_file():
        return {}
    used: dict[str, set[str]] = {"train": set(), "val": set()}
    for row in iterate_rows(images, ["kind", "split", "sha256"]):
        if row["kind"] == "real" and row["split"] in used:
            used[row["split"]].add(row["sha256"])
    only_val = used["val"] - used["train"]
    num_train = sum(sample.sha256 in used["train"] for sample in samples)
    num_val = sum(sample.sha256 in only_val for sample in samples)
    if num_train or num_val:
        text = f"of {counted(len(samples), 'image')}, {num_train:,} trained this classifier and "
        text += f"{num_val:,} chose its checkpoint: accuracy on them says nothing of new images"
        say("evaluate", text)
    return {"num_train": num_train, "num_val": num_val}


def match_classes(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the classifier's label of each class of a data set, by name.

    Args:
        names: Class names of the data set.
        known: Class names of the classifier.

    Raises:
        UserError: The classifier does not know a class, or a name is not unique.
    """
    names, known = (
        [unicodedata.normalize("NFC", name) for name in given] for given in (names, known)
    )
    if list(names) == list(known):
        return list(range(len(known)))
    label_of = {name: label for label, name in enumerate(known)}
    there = set(names)
    missing = [name for name in label_of if name not in there]
    unknown = [name for name in names if name not in label_of]
    if unknown:
        without = f" (and none of {join_first(missing)})" if missing else ""
        raise UserError(
            f"dataset: must have classes of the run, got {join_first(unknown)}{without}; "
            f"name them as in the run, such as {naming({unknown[0]: (missing or known)[0]})}"
        )
    if len(set(known)) < len(known) or len(set(names)) < len(names):
        raise UserError("dataset: must have class names that differ, to be matched with the run's")
    if missing:
        num = counted(len(missing), "class", "classes")
        say("evaluate", f"no images of {num} of the run: {join_first(missing)}")
    return [label_of[name] for name in names]


def _write_predictions(
    path: Path, samples: Sequence[Sample], labels: "Tensor", logits: "Tensor"
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sip.classifier.train import as_lists

    columns = {
        "sample_id": [sample.sample_id for sample in samples],
        "path": [sample.path for sample in samples],
        "label": labels.numpy(),
        "logits": as_lists(logits),
    }
    with atomic_file(path) as part:
        pq.write_table(pa.table(cast(Any, columns)), part)
