"""Which positions of a stream or a split a process goes through, on one device or on many."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from sip.core.component import refuse


def check_share(batch_size: int, world_size: int) -> None:
    """Check that a batch can be divided evenly.

    Raises:
        UserError: It cannot.
    """
    if batch_size % world_size:
        rule = f"a multiple of the {world_size} devices"
        raise refuse("classifier.batch_size", rule, batch_size)


class StreamPositions(Sampler[int]):
    """The positions of a training from a step on, this process's share of each batch.

    The positions of a batch are distributed one by one: all processes together see what one process
    would see.

    Args:
        steps: Steps of the whole training.
        batch_size: Images in a batch, of all processes together.
        start: Steps of the checkpoint.
        rank, world_size: This process and the number of them.

    Raises:
        UserError: The batch cannot be divided evenly.
    """

    def __init__(
        self, steps: int, batch_size: int, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        check_share(batch_size, world_size)
        self.steps, self.batch_size, self.start = steps, batch_size, start
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[int]:
        """Yield the remaining positions."""
        for step in range(self.start, self.steps):
            first = step * self.batch_size
            yield from range(first + self.rank, first + self.batch_size, self.world_size)

    def __len__(self) -> int:
        """Return the number of the whole training, the part before `start` included.

        Lightning counts the steps before `start` as fetched.
        """
        return self.steps * self.batch_size // self.world_size


class SplitPositions(Sampler[int]):
    """Every `world_size`-th image of a split; none is seen twice, none is left out."""

    def __init__(self, num: int, rank: int = 0, world_size: int = 1) -> None:
        self.positions = range(rank, num, world_size)

    def __iter__(self) -> Iterator[int]:
        """Yield them in order."""
        return iter(self.positions)

    def __len__(self) -> int:
        """Return this process's number."""
        return len(self.positions)
