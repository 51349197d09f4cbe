"""A bounded memory of tensors, so that nothing is computed twice and memory stays flat."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Recent(Generic[Key]):
    """Keeps the tensors of the `capacity` keys that were asked for last."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()

    def get(self, keys: Sequence[Key], make: Callable[[list[Key]], Iterable[Tensor]]) -> Tensor:
        """Return one tensor a key, stacked (len(keys), ...).

        Args:
            keys: May repeat.
            make: Makes the tensors of all keys that are not kept, in one call; each once.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            self._kept.update(zip(missing, make(missing), strict=True))
        for key in keys:
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
        """Forget these keys; those that are not kept are no mistake."""
        for key in keys:
            self._kept.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
