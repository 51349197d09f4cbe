"""The data card: what the images are, how they were made, and what to clear before sharing."""

import re
from collections import Counter
from typing import Any

import yaml

from sip.core.hashing import digest
from sip.core.text import counted, escape_markdown, values_without_paths
from sip.export.formats.base import SPLITS, ImageFormat
from sip.export.hub import MARK
from sip.export.licences import licence_text
from sip.export.source import COLUMNS, ID_LENGTH, Source
from sip.records.balance import KEY, balance_line, balance_of
from sip.records.summary import Summary

MAX_CLASSES = 50  # of more, only the sums are listed
NOT_OF_IMAGES = ("augmentation", "backbone", "classifier", "seed")  # of a training run
SIZES = {  # of the hub
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M",
    1_000_000_000: "100M<n<1B",
}


def card(source: Source, kind: ImageFormat) -> str:
    """Return `README.md`: YAML for dataset hubs, then text for people; no local paths."""
    recipe = values_without_paths(dict(source.record.summary.recipe))
    recipe = {key: value for key, value in recipe.items() if key not in NOT_OF_IMAGES}
    settings = _yaml(_with_balance(recipe))
    # Longer than any run of backticks in the settings, so that none of these ends the block.
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", settings))])
    counts = {part: source.num_of(part) for part in source.parts}
    lines = [
        _header(source, kind),
        f"# {escape_markdown(source.record.folder.resolve().name)}",
        _what(source),
        f"## How to read it\n\n```python\n{kind.loading(counts)}\n```",
        "The `label` column is the class index of the source data set; the order of folders' names "
        "may be another. Train on `train`, and test on real images only.",
        _originals(source) + _lacking(source),
        _mixed(source),
        "## Counts\n\n" + _counts(source),
        _balance(source),
        "## Left out\n\n" + _left_out(source),
        "## Columns\n\n" + _columns(),
        "## How the images were made\n\n"
        "Source data set and settings of every step, as recorded by the run; anything not in "
        f"here is in the columns of each image.\n\n{fence}yaml\n{settings}{fence}",
        _weights(source.record.summary),
        _made_with(source.record.summary),
        "## Licence\n\n" + licence_text(recipe, source.record.summary.dataset),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _header(source: Source, kind: ImageFormat) -> str:
    size = next(name for limit, name in SIZES.items() if source.num < limit)
    files = [{"split": SPLITS[part], "path": kind.data_files(part)} for part in source.parts]
    values: dict[str, Any] = {
        "pretty_name": source.record.folder.resolve().name,
        "license": "unknown",
        "task_categories": ["image-classification"],
        "size_categories": [size],
        "tags": ["synthetic", "data-augmentation", "diffusion"],
        "configs": [{"config_name": "default", "data_files": files}],
        **kind.card_fields(),
        MARK: mark_for(source, kind),
    }
    return f"---\n{_yaml(values)}---"


def mark_for(source: Source, kind: ImageFormat) -> str:
    """Return what tells this export from others: a hash of run, images and options."""
    counts = sorted(map(str, source.counts.items()))
    options = [source.originals, source.embeds, type(kind).__name__, kind.per_file, counts]
    review = [source.undecided, *sorted(map(str, source.decisions.items()))]
    return digest(source.record.summary.fingerprint, options, review)[:ID_LENGTH]


def _what(source: Source) -> str:
    real = [
        f"{counted(num, 'real image')} of {part}"
        for part in source.parts
        if (num := source.num_of(part, "real"))
    ]
    generated, retrieved = (
        sum(source.num_of(part, kind) for part in source.parts)
        for kind in ("generated", "retrieved")
    )
    if retrieved:
        real.append(f"{counted(retrieved, 'real image')} retrieved in place of generated ones")
    num_classes = len({label for _, label, _ in source.counts})
    return (
        f"{', '.join([counted(generated, 'generated image'), *real])}; "
        f"{counted(num_classes, 'class', 'classes')}; made by "
        "semantic-guided image augmentation (SIP, [arXiv 2302.02070]"
        "(https://arxiv.org/abs/2302.02070)): a diffusion model generates images from each "
        "original, with a prompt and a guidance scale of its own. Generated images are only in "
        "`train`."
    )


def _originals(source: Source) -> str:
    """Return how real images were written."""
    if source.originals == "none":
        return "Real images are not included (`originals=as_used` includes them)."
    if source.originals == "copy":
        return (
            "Real images are copies of the data set's files. The pipeline read them upright by "
            "EXIF and as 8-bit RGB; programs that do neither see other pixels, torchvision's "
            "`ImageFolder` passes over GIF and HEIC, and `datasets` cannot decode HEIC "
            "(`originals=as_used` avoids all of it)."
        )
    return (
        "Real images have the pixels that the pipeline saw: files that are not upright 8-bit grey "
        "or RGB PNG, JPEG or WebP were converted to upright RGB PNG (`converted`), the others are "
        "copies. They keep the names of their files; a name that is taken got a number."
    )


def _mixed(source: Source) -> str:
    """Return what the label of images of two classes is; "" if there are none."""
    if not source.num_mixed:
        return ""
    return (
        f"{counted(source.num_mixed, 'generated image')} of two classes: made from an original of "
        "`source_label` to show `label`. In the label to train with, `label` has the share "
        "`label_share` and `source_label` the rest; folders and class files name `label` only."
    )


def _lacking(source: Source) -> str:
    """Return a warning if a part lacks classes: readers that number folders then number again."""
    every = {label for _, label, _ in source.counts}
    lacking = {
        part: every - {label for p, label, _ in source.counts if p == part} for part in source.parts
    }
    named = [
        f"`{part}` lacks {counted(len(n), 'class', 'classes')}" for part, n in lacking.items() if n
    ]
    if not named:
        return ""
    return (
        f" {', '.join(named)} of {len(every)}: there, `ImageFolder` numbers the classes otherwise "
        "than in the other parts; use the `label` column."
    )


def _counts(source: Source) -> str:
    columns = list(dict.fromkeys((part, kind) for part, _, kind in sorted(source.counts)))
    columns.sort(key=lambda column: (source.parts.index(column[0]), column[1]))
    labels = sorted({label for _, label, _ in source.counts})
    totals = [sum(source.counts[part, n, kind] for n in labels) for part, kind in columns]
    heads = [f"{part}, {kind}" for part, kind in columns]
    rows = [["", "all", *(f"{total:,}" for total in totals)]]
    if len(labels) <= MAX_CLASSES:
        rows = [
            [str(label), escape_markdown(source.class_names[label]),
             *(f"{source.counts[part, label, kind]:,}" for part, kind in columns)]
            for label in labels
        ] + rows  # fmt: skip
    lines = [["label", "class", *heads], ["---"] * (2 + len(heads)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _with_balance(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with those of the balance under the names that one types."""
    offline = recipe.get("offline") or {}
    if KEY not in offline:
        return recipe
    settings = {key: value for key, value in offline.items() if key != KEY} | {"balance": True}
    if offline[KEY] is not None:
        settings["max_per_sample"] = offline[KEY]
    return {**recipe, "offline": settings}


def _balance(source: Source) -> str:
    """Return how many images each class has before and after; "" if classes are not balanced."""
    classes = balance_of(source.record)
    if not classes:
        return ""
    lines = ["## Balance", balance_line(classes)]
    if len(classes) <= MAX_CLASSES:
        rows = [
            f"| {escape_markdown(row.name)} | {row.before:,} | {row.generated:,} | {row.after:,} |"
            for row in classes
        ]
        head = ["| class | real, before | generated | after |", "|---|---|---|---|"]
        lines.append("\n".join([*head, *rows]))
    return "\n\n".join(lines)


def _left_out(source: Source) -> str:
    """Return how many images are not exported, with the reasons."""
    if not source.failed and not source.rejected:
        return "No image of the run failed."
    lines = [
        _reasons(counts, noun, what)
        for counts, noun, what in (
            (source.failed, "image", "could not be generated"),
            (source.rejected, "generated image", "rejected by a filter or in review"),
        )
        if counts
    ]
    return "\n\n".join(lines)


def _reasons(counts: Counter[str], noun: str, what: str) -> str:
    reasons = ", ".join(f"{num:,} {escape_markdown(r)}" for r, num in counts.most_common())
    return f"{counted(counts.total(), noun)} {what}, left out here: {reasons}."


def _columns() -> str:
    rows = [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in COLUMNS.items()]
    return "\n".join(["| column | type | what it holds |", "|---|---|---|", *rows])


def _weights(summary: Summary) -> str:
    """Return the weights that the stages of the generation loaded; "" if none are recorded."""
    rows = [
        [stage, values_without_paths(used.source), used.commit or used.revision or "", file, sha256]
        for stage, used in summary.weights.items()
        if stage not in NOT_OF_IMAGES
        for file, sha256 in used.sha256.items()
    ]
    if not rows:
        return ""
    lines = [["stage", "model", "commit or revision", "file", "SHA-256"], ["---"] * 5]
    lines += [[escape_markdown(text) for text in row] for row in rows]
    return "## Weights\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _made_with(summary: Summary) -> str:
    versions = dict(summary.versions) | ({"commit": summary.commit} if summary.commit else {})
    text = ", ".join(f"{name} {value}" for name, value in versions.items())
    return f"Made with {escape_markdown(text)}" if versions else ""


def _yaml(values: Any) -> str:
    """Return values as YAML; texts stay texts, "${...}" in them too."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
