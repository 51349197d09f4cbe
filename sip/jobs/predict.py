"""Classify image files with the classifiers of finished runs."""

import glob
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sip.backbone.saved import SavedClassifier
from sip.core.component import component, refuse
from sip.core.errors import UserError
from sip.core.files import atomic_file, check_output, plain_disk_errors
from sip.core.image_io import look_at
from sip.core.interrupt import graceful
from sip.core.progress import progress, say
from sip.core.ranges import Count
from sip.core.text import counted, join_first
from sip.dataset.folders import files_below, is_image

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

WRITERS: dict[str, Callable[[Any, Path], Any]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".json": lambda table, path: path.write_text(
        json.dumps(table.to_dict("records"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    ),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
}


@component
class PredictOptions:
    """What `conf/predict.yaml` says.

    Attributes:
        run: Folders of runs; the probabilities of several are averaged.
        images: Files, folders and patterns.
        output: A file with an ending of `WRITERS`; None prints CSV.
        top_k: Classes an image, the most probable first.
        broken: What is done about files that cannot be read.
        device: Device, as torch names it, or "auto".
        batch_size: Images at a time.
        num_workers: Threads that read.
    """

    run: list[str]
    images: list[str]
    output: str | None
    top_k: Count
    broken: Literal["skip", "refuse"]
    device: str
    batch_size: Count
    num_workers: Count

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "PredictOptions":
        """Return the options of a configuration; its `files` are the images.

        Raises:
            UserError: One is missing or wrong.
        """
        values = {**node, "images": node["files"]}
        for key, example in (("run", "runs/<name>"), ("images", "<folder or file>")):
            if not values[key]:
                raise UserError(f"{key}: must be given; say {key}={example}")
            values[key] = _listed(values[key])
        return cls(**{key: values[key] for key in cls.__dataclass_fields__})

    def __post_init__(self) -> None:
        if self.output is not None and Path(self.output).suffix not in WRITERS:
            raise refuse("output", f"a file ending in {', '.join(WRITERS)}", self.output)


def predict(options: PredictOptions) -> "pd.DataFrame":
    """Classify the images; write the table, if a file is given, and return it.

    Returns:
        A row an image: `file`, `label`, `probability`, and for `top_k` > 1 the same of the next
        classes as `label_2`, `probability_2` and so on.

    Raises:
        UserError: A run, an image or an option is not as it must be.
        Stopped: Got SIGINT or SIGTERM; nothing is written.
    """
    import pandas as pd
    import torch

    from sip.classifier.predictor import Predictor, batches
    from sip.device.settings import device

    if options.output is not None:
        check_output(Path(options.output))
    saved = [SavedClassifier.of(Path(run)) for run in options.run]
    names = saved[0].class_names
    for run, other in zip(options.run, saved, strict=True):
        if difference := compare_classes(other.class_names, names):
            raise UserError(f"run: must be runs with the same classes, got {run} {difference}")
    files = find_images(options.images)
    if options.broken == "refuse":
        with ThreadPoolExecutor(options.num_workers) as threads:
            looks = zip(files, threads.map(look_at, files), strict=True)
            _refuse([file for file, look in looks if look.error], len(files))
    on = device(options.device, "device")
    predictors = [Predictor(classifier, on) for classifier in saved]
    rows: list[dict[str, Any]] = []
    broken: dict[str, str] = {}
    with graceful(), progress("predict", len(files), "image") as bar:
        for batch in batches(predictors, files, options.batch_size, options.num_workers):
            if options.broken == "refuse":
                batch.require_all()
            broken |= batch.broken
            if batch.paths:
                mean = torch.stack([logits.softmax(1) for logits in batch.logits]).mean(0)
                rows += _rows(batch.paths, mean, names, options.top_k)
            bar.update(len(batch.paths) + len(batch.broken))
    if broken:
        what = f"{counted(len(broken), 'file')} of {len(files)} cannot be read"
        say("predict", f"skipped: {what}: {join_first(list(broken))}")
    table = pd.DataFrame(rows, columns=_columns(min(options.top_k, len(names))))
    if options.output is not None:
        path = Path(options.output)
        with plain_disk_errors(path, "output"), atomic_file(path) as part:
            WRITERS[path.suffix](table, part)
    return table


def find_images(places: Sequence[str]) -> list[str]:
    """Return the image files that folders hold, that patterns match, or that are named.

    Raises:
        UserError: A place has none.
    """
    files: list[str] = []
    for place in places:
        path = Path(place).expanduser()
        if path.is_dir():
            matches = files_below(path).images
        elif path.exists():
            matches = [str(path)]
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [name for name in names if is_image(name) and Path(name).is_file()]
        if not matches:
            rule = "a folder with images, an image file, or a pattern that matches images"
            raise refuse("images", rule, place, _other_case(str(path)))
        files += matches
    return list(dict.fromkeys(files))


def _other_case(pattern: str) -> str:
    """Return how many images a pattern would match in letters of any case; empty if none."""
    if "[" in pattern:
        return ""
    letters = re.compile("[A-Za-z]")
    any_case = letters.sub(lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", pattern)
    matches = sorted(filter(is_image, glob.glob(any_case, recursive=True)))
    if not matches:
        return ""
    num = counted(len(matches), "image matches", "images match")
    return f"{num} but for capitals, such as {matches[0]}"


def compare_classes(names: Sequence[str], expected: Sequence[str]) -> str:
    """Return in words how class names differ from the expected ones; empty if they do not."""
    if list(names) == list(expected):
        return ""
    parts = {
        "without": [name for name in expected if name not in names],
        "with": [name for name in names if name not in expected],
    }
    text = " and ".join(
        f"{word} {join_first(differing)}" for word, differing in parts.items() if differing
    )
    return text or "with the classes in another order"


def _listed(value: Any) -> list[str]:
    return [str(value)] if isinstance(value, str | int | float) else [str(item) for item in value]


def _refuse(files: Sequence[str], num: int) -> None:
    if files:
        raise UserError(
            f"images: must be readable, but {len(files)} of {num} files cannot be read "
            f"({join_first(list(files))}); fix or remove them, or use broken=skip"
        )


def _columns(num: int) -> list[str]:
    """Return the names of the columns, with `num` classes an image."""
    ends = ["", *(f"_{rank}" for rank in range(2, num + 1))]
    return ["file", *(f"{name}{end}" for end in ends for name in ("label", "probability"))]


def _rows(
    paths: Sequence[str], probabilities: "Tensor", names: Sequence[str], top_k: int
) -> list[dict[str, Any]]:
    """Return a row an image; probabilities (N, classes)."""
    values, labels = probabilities.topk(min(top_k, len(names)))
    rows = []
    for path, shares, classes in zip(paths, values.tolist(), labels.tolist(), strict=True):
        row: dict[str, Any] = {"file": path}
        for rank, (share, label) in enumerate(zip(shares, classes, strict=True), start=1):
            end = "" if rank == 1 else f"_{rank}"
            row |= {f"label{end}": names[label], f"probability{end}": round(share, 6)}
        rows.append(row)
    return rows
