"""The data card: what the pictures are, how they were made, and what is to be cleared first."""

import re
from typing import Any

import yaml

from sip.core.text import counted, escape_markdown, values_without_paths
from sip.export.source import COLUMNS, Source
from sip.records.summary import Summary

MAX_CLASSES = 50  # more are summed up
NOT_OF_PICTURES = ("augmentation", "backbone", "classifier", "seed")  # of a training run
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

LOADING = {
    "image_folder": "torchvision.datasets.ImageFolder('.')  # provenance in metadata.csv",
    "webdataset": "webdataset.WebDataset('train-{00000..%05d}.tar').decode('pil')",
    "datasets": "datasets.load_dataset('path/to/this/folder', split='train')",
}
DATA_FILES = {"webdataset": "train-*.tar", "datasets": "data/train-*.parquet"}

LICENCE = """\
The pictures are derived from the source data set and drawn by a model. The exporter does not know
their licences: before passing this folder on, see what the source data set allows for pictures
derived from it (real pictures, where `kind` is `real`, are copies), and what the model's licence
asks for (Stable Diffusion's, for example, restricts uses). Then mend `license: unknown` above."""


def card(source: Source, file_format: str, per_file: int) -> str:
    """Return `README.md`: YAML for dataset hubs, then text for people; no local paths."""
    recipe = values_without_paths(dict(source.record.summary.recipe))
    recipe = {key: value for key, value in recipe.items() if key not in NOT_OF_PICTURES}
    told = _yaml(recipe)
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", told))])  # none in it ends it
    loading = LOADING[file_format]
    if file_format == "webdataset":
        loading %= -(-source.num // per_file) - 1
    lines = [
        _header(source, file_format),
        f"# {escape_markdown(source.record.folder.resolve().name)}",
        _what(source),
        f"```python\n{loading}\n```",
        "The `label` column is the class index of the source data set; the order of folders' names "
        "may be another. Train on it, and test on real pictures alone.",
        "## Counts\n\n" + _counts(source),
        "## Failed\n\n" + _failed(source) + _rejected(source),
        "## Columns\n\n" + _columns(),
        "## How the pictures were made\n\n"
        "Source data set and settings of every step, as recorded by the run; anything not in "
        f"here is in the columns of each picture.\n\n{fence}yaml\n{told}{fence}",
        _made_with(source.record.summary),
        "## Licence\n\n" + LICENCE,
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _header(source: Source, file_format: str) -> str:
    size = next((name for limit, name in SIZES if source.num < limit), "n>1M")
    values: dict[str, Any] = {
        "pretty_name": source.record.folder.resolve().name,
        "license": "unknown",
        "task_categories": ["image-classification"],
        "size_categories": [size],
        "tags": ["synthetic", "data-augmentation", "diffusion"],
    }
    if file_format in DATA_FILES:
        files = [{"split": "train", "path": DATA_FILES[file_format]}]
        values["configs"] = [{"config_name": "default", "data_files": files}]
    return f"---\n{_yaml(values)}---"


def _what(source: Source) -> str:
    num_real = sum(num for (_, kind), num in source.counts.items() if kind == "real")
    num_classes = len({label for label, _ in source.counts})
    real = f" and the {num_real:,} real training pictures" if num_real else ""
    return (
        f"{counted(source.num - num_real, 'drawn picture')}{real}, of "
        f"{counted(num_classes, 'class', 'classes')}, made by "
        "semantic-guided image augmentation (SIP, [arXiv 2302.02070]"
        "(https://arxiv.org/abs/2302.02070)): a diffusion model draws from each original, with a "
        "prompt and a guidance scale of its own."
    )


def _counts(source: Source) -> str:
    by_class: dict[int, int] = {}
    for (label, _), num in source.counts.items():
        by_class[label] = by_class.get(label, 0) + num
    if len(by_class) > MAX_CLASSES:
        return f"{min(by_class.values()):,} to {max(by_class.values()):,} pictures a class."
    rows = [
        f"| {label} | {escape_markdown(source.class_names[label])} "
        f"| {source.counts[label, 'generated']:,} | {source.counts[label, 'real']:,} |"
        for label in sorted(by_class)
    ]
    return "\n".join(["| label | class | generated | real |", "|---|---|---|---|", *rows])


def _failed(source: Source) -> str:
    if not source.failed:
        return "The run's list names no picture that failed."
    reasons = ", ".join(
        f"{num:,} {escape_markdown(str(r))}" for r, num in source.failed.most_common()
    )
    num = counted(source.failed.total(), "picture")
    return f"{num} could not be drawn, left out here: {reasons}."


def _rejected(source: Source) -> str:
    if not source.rejected:
        return ""
    reasons = ", ".join(
        f"{num:,} {escape_markdown(str(r))}" for r, num in source.rejected.most_common()
    )
    num = counted(source.rejected.total(), "drawn picture")
    return f"\n\n{num} rejected by a filter, left out here: {reasons}."


def _columns() -> str:
    rows = [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in COLUMNS.items()]
    return "\n".join(["| column | type | what it holds |", "|---|---|---|", *rows])


def _made_with(summary: Summary) -> str:
    made = dict(summary.versions)
    if summary.commit:
        made["commit"] = summary.commit
    told = ", ".join(f"{name} {value}" for name, value in made.items())
    return f"Made with {escape_markdown(told)}" if made else ""


def _yaml(values: Any) -> str:
    """Return values as YAML; texts stay texts, "${...}" in them too."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
