"""Remarks on a data set that are no errors: copies in train, classes that are hardly tested."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from sip.core.text import counted, join_first
from sip.dataset.base import Sample, Split

TESTED: tuple[Split, ...] = ("val", "test")


def remarks(parts: Mapping[Split, Sequence[Sample]], class_names: Sequence[str]) -> list[str]:
    """Return a line each on what looks like a mistake.

    Copies within train, images in several classes, classes with at most one val or test image.

    Args:
        parts: Parts of the data set.
        class_names: In the order of the labels.
    """
    lines = []
    same: dict[str, list[str]] = defaultdict(list)
    for sample in parts["train"]:
        same[sample.sha256].append(sample.sample_id)
    copies = [(copy, first) for first, *rest in same.values() for copy in rest]
    if copies:
        shown = join_first([f"{copy} = {first}" for copy, first in copies])
        lines.append(
            f"{len(copies)} of {len(parts['train'])} training images are copies of other images "
            f"({shown}); all of them count"
        )
    labels: dict[str, dict[int, Sample]] = defaultdict(dict)
    for sample in (sample for part in parts.values() for sample in part):
        labels[sample.sha256].setdefault(sample.label, sample)
    if torn := [list(found.values())[:2] for found in labels.values() if len(found) > 1]:
        named = [
            f"{one.sample_id} ({one.class_name}) = {two.sample_id} ({two.class_name})"
            for one, two in torn
        ]
        lines.append(
            f"{counted(len(torn), 'image')} in more than one class ({join_first(named)}); remove "
            "what is in the wrong one"
        )
    trained = {sample.label for sample in parts["train"]}
    for part in TESTED:
        counts = Counter(sample.label for sample in parts[part])
        for num, text in ((0, "no"), (1, "only 1")):
            few = [name for n, name in enumerate(class_names) if n in trained and counts[n] == num]
            if few and counts:
                lines.append(
                    f"{len(few)} of {len(class_names)} classes have {text} {part} image: "
                    f"{join_first(few)}"
                )
    return lines
