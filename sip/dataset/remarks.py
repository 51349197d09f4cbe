"""Remarks on a data set that are no errors: copies, class names, classes that are hardly tested."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter

from sip.core.spill import KeyNumbers
from sip.core.text import counted, join_first
from sip.dataset.base import Dataset, Sample, Split
from sip.dataset.folders import say_once
from sip.dataset.labels import naming
from sip.dataset.reader import Reader

TESTED: tuple[Split, ...] = ("val", "test")
CODE = re.compile(  # a class name that says nothing to a text-to-image model
    r"((class|label|category|id|n)?[\W_]*\d[\W\d_]*|null|none|nan|unknown|true|false)",
    re.IGNORECASE,
)


def say_remarks(dataset: Dataset) -> None:
    """Print the remarks on the parts of a data set that were opened."""
    if isinstance(dataset, Reader):
        names = dataset.class_names
        for line in [*codes(names), *remarks(dataset.opened, names)]:
            say_once(dataset.content, line)


def codes(class_names: Sequence[str]) -> list[str]:
    """Return a line on class names that are no words, if there are any."""
    found = [name for name in class_names if CODE.fullmatch(name)]
    if not found:
        return []
    shown = naming({name: f"words for {name}" for name in found[:2]})
    return [
        f"class names that are no words: {len(found)} of {len(class_names)} ({join_first(found)}); "
        f"prompts would contain them; to name the classes: {shown}"
    ]


def remarks(
    parts: Mapping[Split, Sequence[Sample]],
    class_names: Sequence[str],
    with_leaks: bool = True,
) -> list[str]:
    """Return a line each on what looks like a mistake.

    Copies within train and in val or test, images in several classes, classes with at most one val
    or test image.

    Args:
        parts: Parts of the data set.
        class_names: In the order of the labels.
        with_leaks: Whether copies of training images in val and test are among them.
    """
    lines = []
    train = parts["train"]
    positions = KeyNumbers()  # content hash -> position of the first image with it
    again: list[tuple[int, str]] = []
    for position, sample in enumerate(train):
        first = positions.get(sample.sha256, None)
        if first is None:
            positions[sample.sha256] = position
        else:
            again.append((first, sample.sample_id))
    again.sort(key=itemgetter(0))  # the copies of one image stay in their order
    if again:
        shown = join_first([f"{copy} = {train[first].sample_id}" for first, copy in again])
        lines.append(
            f"copies within train: {len(again)} of {len(train)} images ({shown}); all of them count"
        )
    for part in TESTED if with_leaks else ():
        leaked = [s for s in parts.get(part, ()) if s.sha256 and s.sha256 in positions]
        if leaked:
            pairs = ((s.sample_id, train[positions[s.sha256]].sample_id) for s in leaked)
            shown = join_first([f"{own} = {other}" for own, other in pairs])
            lines.append(
                f"copies of training images in {part}: {len(leaked)} of {len(parts[part])} images "
                f"({shown}); delete one of each two"
            )
    if torn := _torn(parts):
        named = [
            f"{one.sample_id} ({one.class_name}) = {two.sample_id} ({two.class_name})"
            for one, two in torn
        ]
        lines.append(
            f"{counted(len(torn), 'image')} in more than one class ({join_first(named)}); remove "
            "what is in the wrong one"
        )
    trained = {sample.label for sample in train}
    for part in TESTED:
        counts = Counter(sample.label for sample in parts.get(part, ()))
        for num, text in ((0, "without a"), (1, "with only 1")):
            few = [name for n, name in enumerate(class_names) if n in trained and counts[n] == num]
            if few and counts:
                lines.append(
                    f"classes {text} {part} image: {len(few)} of {len(class_names)} "
                    f"({join_first(few)})"
                )
    return lines


def _torn(parts: Mapping[Split, Sequence[Sample]]) -> list[list[Sample]]:
    """Return two images of different classes for each content that is in more than one class."""
    labels = KeyNumbers()
    several: set[str] = set()
    for sample in chain.from_iterable(parts.values()):
        known = labels.get(sample.sha256, None)
        if known is None:
            labels[sample.sha256] = sample.label
        elif known != sample.label:
            several.add(sample.sha256)
    found: dict[str, dict[int, Sample]] = {}
    for sample in chain.from_iterable(parts.values()) if several else ():
        if sample.sha256 in several:
            found.setdefault(sample.sha256, {}).setdefault(sample.label, sample)
    return [list(of_content.values())[:2] for of_content in found.values()]
