"""Subsets: nested, by seed, independent of order; held-out parts; what is refused."""

from collections import Counter
from typing import Any

import pytest

from sip.core.component import component
from sip.core.errors import UserError
from sip.dataset.files import Entry, ImageFile
from sip.dataset.reader import Listing, Reader, require_trainable
from sip.dataset.subsets import Subset, frequency_groups, hold_out, make_parts, per_class


def entry(sample_id: str, label: int) -> Entry:
    """Return an entry whose image is made up."""
    return Entry(sample_id, label, lambda: ImageFile(f"/{sample_id}.png", 8, 8, sample_id))


ROWS = [entry(f"r{i}", i % 3) for i in range(60)]


def subset(seed: int = 0, **options: Any) -> Subset:
    """Return a subset with only these options."""
    names = ("shots", "fraction", "imbalance", "label_noise")
    values: dict[str, Any] = dict.fromkeys(names) | options
    return Subset(**values, seed=seed)


def ids(rows: list[Entry]) -> set[str]:
    return {row.sample_id for row in rows}


@pytest.mark.parametrize(
    ("option", "values", "sizes"),
    [
        ("shots", (1, 2, 5, 20), (3, 6, 15, 60)),
        ("fraction", (0.01, 0.1, 0.5, 1), (3, 6, 30, 60)),
        ("imbalance", (100, 10, 2, 1), (20 + 2 + 1, 20 + 6 + 2, 20 + 14 + 10, 60)),
    ],
)
def test_smaller_sets_are_part_of_larger_ones(
    option: str, values: tuple[float, ...], sizes: tuple[int, ...]
) -> None:
    for seed in range(3):
        parts = [ids(subset(seed, **{option: value}).choose(ROWS, 3)) for value in values]
        for smaller, larger in zip(parts, parts[1:], strict=False):
            assert smaller < larger
        assert tuple(len(part) for part in parts) == sizes


def test_options_share_one_order() -> None:
    five = subset(shots=5).choose(ROWS, 3)
    assert five == subset(fraction=0.25).choose(ROWS, 3)
    assert ids(subset(fraction=0.5, imbalance=10).choose(ROWS, 3)) < ids(
        subset(imbalance=10).choose(ROWS, 3)
    )


def test_choice_depends_on_seed_and_not_on_order_or_other_rows() -> None:
    chosen = subset(shots=4).choose(ROWS, 3)
    assert chosen == [row for row in ROWS if row in chosen]  # old order
    assert ids(subset(shots=4).choose(ROWS[::-1], 3)) == ids(chosen)
    assert ids(subset(1, shots=4).choose(ROWS, 3)) != ids(chosen)
    more = [entry(name, 3) for name in ("new", "newer", "newest", "last")]
    assert ids(subset(shots=4).choose([*more, *ROWS], 4)) >= ids(chosen)


def test_options_that_say_nothing_change_nothing() -> None:
    for nothing in (subset(), subset(7, fraction=1.0, imbalance=1, label_noise=0)):
        assert nothing.choose(ROWS, 3) == ROWS


@pytest.mark.parametrize(
    ("largest", "num_classes", "factor", "total"),
    [(5000, 10, 100, 12406), (500, 100, 100, 10847), (500, 100, 10, 19573), (5000, 10, 10, 20431)],
)
def test_long_tails_have_the_published_sizes(
    largest: int, num_classes: int, factor: float, total: int
) -> None:
    """CIFAR-10-LT and CIFAR-100-LT, as Cui et al. 2019 and those after them count them."""
    sizes = subset(imbalance=factor).sizes(dict.fromkeys(range(num_classes), largest), num_classes)
    assert sum(sizes.values()) == total
    assert sizes[0] == largest and sizes[num_classes - 1] == largest // factor
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


def test_long_tail_of_unequal_classes() -> None:
    assert subset(imbalance=4).sizes({0: 10, 1: 100, 2: 1}, 3) == {0: 10, 1: 50, 2: 1}
    assert subset(imbalance=1000).sizes({0: 10, 1: 10}, 2) == {0: 10, 1: 1}
    assert subset(imbalance=5).sizes({0: 10}, 1) == {0: 10}


def test_head_middle_and_tail() -> None:
    labels = [0] * 5 + [1] * 9 + [2] * 5 + [4]
    assert frequency_groups(Counter(labels), 5) == {"head": (0, 1), "middle": (2, 4), "tail": (3,)}
    parts = frequency_groups(Counter(range(100)), 100)
    assert [len(classes) for classes in parts.values()] == [34, 33, 33]
    assert frequency_groups({}, 1) == {"head": (0,), "middle": (), "tail": ()}


def test_label_noise_is_symmetric_and_nested() -> None:
    rows = [entry(f"r{i}", i % 4) for i in range(4000)]
    true = {row.sample_id: row.label for row in rows}
    some, more = (subset(label_noise=share).choose(rows, 4) for share in (0.2, 0.5))
    wrong = {row.sample_id: row.label for row in some if row.label != true[row.sample_id]}
    assert len(wrong) == 800 and [row.sample_id for row in some] == [row.sample_id for row in rows]
    assert wrong.items() <= {row.sample_id: row.label for row in more}.items()
    pairs = Counter((true[key], label) for key, label in wrong.items())
    assert len(pairs) == 12 and all(35 < num < 100 for num in pairs.values())  # 67 expected
    everything = subset(label_noise=1).choose(rows, 4)
    assert all(row.label != true[row.sample_id] for row in everything)
    assert subset(1, label_noise=0.2).choose(rows, 4) != some


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "shots: must be a whole number >= 1 or null, got 0"),
        ({"shots": 21}, "dataset.shots: must be at most 20.*got 21"),
        ({"fraction": 0}, r"fraction: must be in \(0, 1\] or null, got 0"),
        ({"imbalance": 0.5}, "imbalance: must be a number >= 1 or null, got 0.5"),
        ({"imbalance": float("nan")}, "imbalance: must be .* got nan"),
        ({"label_noise": -0.1}, r"label_noise: must be in \[0, 1\] or null, got -0.1"),
        ({"shots": 5, "imbalance": 10}, "shots: must be null if dataset.fraction or dataset.imb"),
        ({"shots": 5, "fraction": 0.5}, "shots: must be null .* got 5; set dataset.shots=null"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        subset(**options).choose(ROWS, 3)


def test_noise_needs_another_class() -> None:
    with pytest.raises(UserError, match="label_noise: must be null for a single class"):
        subset(label_noise=0.1).choose([entry("a", 0)], 1)


def test_hold_out_is_stratified_and_keeps_single_rows() -> None:
    single = entry("single", 3)
    kept, held = hold_out([*ROWS, single], 0.1, 0)
    assert sorted(row.label for row in held) == [0, 0, 1, 1, 2, 2]
    assert single in kept
    assert len(kept) + len(held) == 61 and ids(kept).isdisjoint(ids(held))
    assert hold_out(ROWS, 0.1, 1)[1] != held
    assert hold_out(ROWS, 0, 0) == (ROWS, [])


def test_parts_that_are_there_are_kept() -> None:
    entries: dict[Any, list[Entry]] = {"train": ROWS, "val": ROWS[:3]}
    make_parts(entries, 0.1, 0.5, 0)
    assert [len(entries[part]) for part in ("train", "val", "test")] == [54, 3, 6]


def test_per_class_takes_and_leaves() -> None:
    taken, rest = per_class(ROWS, 15, 0)
    assert (len(taken), len(rest)) == (45, 15)
    assert ids(taken) | ids(rest) == ids(ROWS)


@component
class MadeUp(Reader):
    """What a new reader has to state, and no more."""

    labels: list[int]

    def listing(self) -> Listing:
        """Return two classes."""
        rows = [entry(f"r{i}", label) for i, label in enumerate(self.labels)]
        return ("cat", "dog"), {"train": rows, "val": rows[:1], "test": []}


def made_up(labels: list[int], label_noise: float | None = None) -> MadeUp:
    """Return the reader without any other option."""
    return MadeUp(None, None, None, label_noise, 0, labels)


def test_a_new_reader_has_the_subsets_for_free() -> None:
    plain, noisy = (made_up([0, 0, 1, 1], share) for share in (None, 1))
    assert noisy.recipe() == plain.recipe() | {"label_noise": 1}
    assert [row.class_name for row in plain.samples("train")] == ["cat", "cat", "dog", "dog"]
    assert [row.class_name for row in noisy.samples("train")] == ["dog", "dog", "cat", "cat"]
    assert noisy.samples("val") == plain.samples("val")
    with pytest.raises(UserError, match=r"labels must be in 0 .. 1, .* got 2 for r1; fix"):
        made_up([0, 2]).samples("val")


def test_the_content_of_a_reader_knows_ids_labels_and_classes() -> None:
    assert made_up([0, 1]).content == made_up([0, 1]).content
    assert len({made_up(labels).content for labels in ([0, 1], [1, 0], [0, 1, 1])}) == 3


def test_what_training_needs() -> None:
    def samples(labels: list[int]) -> list[Any]:
        return made_up(labels).samples("train")

    both, one = samples([0, 1]), samples([0])
    require_trainable(("cat", "dog"), {"train": both, "val": one, "test": one})
    with pytest.raises(UserError, match="at least two classes to train on, got cat; add"):
        require_trainable(("cat",), {"train": one, "val": one, "test": one})
    with pytest.raises(
        UserError, match="of 2 classes must have a training image, got none for 1 .dog."
    ):
        require_trainable(("cat", "dog"), {"train": one, "val": both, "test": both})
    with pytest.raises(UserError, match="part val must have images, got none"):
        require_trainable(("cat", "dog"), {"train": both, "val": [], "test": both})
