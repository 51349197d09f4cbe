"""Images per class of a run with `images.balance=true`, before and after the generation."""

from collections import Counter
from dataclasses import dataclass

from sip.records.read import AnySummary, RunRecord

KEY = "balance"  # in the recipe of the generation; its value is `images.max_per_sample`


@dataclass(frozen=True)
class ClassBalance:
    """The training images of a class.

    Attributes:
        label: Class index.
        name: Class in words.
        before: Real images.
        generated: Images that were generated and kept.
    """

    label: int
    name: str
    before: int
    generated: int

    @property
    def after(self) -> int:
        """Real and generated images."""
        return self.before + self.generated


def balance_of(run: RunRecord[AnySummary]) -> list[ClassBalance]:
    """Return the classes of a run by label; [] if its classes were not balanced.

    Raises:
        UserError: The list of the run's images is damaged.
    """
    if KEY not in (run.summary.recipe.get("offline") or {}):
        return []
    names: dict[int, str] = {}
    counts: Counter[tuple[int, str]] = Counter()
    for row in run.iterate_images():
        if row["split"] == "train":
            names.setdefault(row["label"], str(row["class_name"]))
            kind = "real" if row["kind"] == "real" else "generated"
            counts[row["label"], kind] += row.get("status", "ok") == "ok"
    return [
        ClassBalance(label, name, counts[label, "real"], counts[label, "generated"])
        for label, name in sorted(names.items())
    ]


def balance_line(classes: list[ClassBalance]) -> str:
    """Return in a sentence how many images a class has before and after."""
    before, after = ([getattr(row, name) for row in classes] for name in ("before", "after"))
    return (
        f"images.balance=true generates more from the originals of small classes: {_range(before)} "
        f"real images a class before, {_range(after)} with the generated ones."
    )


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
