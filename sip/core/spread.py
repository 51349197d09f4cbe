"""Pick a few items that are spread evenly over a list."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], at_most: int) -> list[Item]:
    """Return all items, or `at_most` of them at equal distances, the first included.

    Args:
        items: The items, in an order that the picks keep.
        at_most: Number of picks; 0 for none.
    """
    num = min(at_most, len(items))
    return [items[number * len(items) // num] for number in range(num)]
