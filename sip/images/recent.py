"""A bounded cache of tensors, so that nothing is computed twice and memory stays flat."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Recent(Generic[Key]):
    """Caches the tensors of the `capacity` keys that were used last.

    Each tensor is computed by itself. In a common batch its last bits would depend on the other
    rows, that is, on what happened to be cached: an image would not be the same after a restart.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()

    def get(self, keys: Sequence[Key], compute: Callable[[Key], Tensor]) -> Tensor:
        """Return one tensor a key, stacked (len(keys), ...).

        Args:
            keys: May repeat.
            compute: Returns the tensor of one key; called once for each key that is not cached.
        """
        for key in keys:
            if key not in self._kept:
                self._kept[key] = compute(key)
            self._kept.move_to_end(key)
        stacked = torch.stack([self._kept[key] for key in keys])
        while len(self._kept) > self.capacity:
            self._kept.popitem(last=False)
        return stacked

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def drop(self, keys: Collection[Key]) -> None:
        """Remove these keys; those that are not cached are ignored."""
        for key in keys:
            self._kept.pop(key, None)

    def clear(self) -> None:
        """Remove all."""
        self._kept.clear()
