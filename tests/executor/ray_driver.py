"""A driver that tests can kill: python -m tests.executor.ray_driver FOLDER NUM PAUSE."""

import sys
from pathlib import Path

from sip.executor.pool import ActorPool
from sip.executor.ray import Ray
from tests.executor.toy import Toy, work


def main() -> None:
    """Have `NUM` rows made by at most three actors of the cluster of RAY_ADDRESS."""
    folder, num, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    pool = ActorPool(1, 3, 1.0, None)
    print(work(folder, Ray(pool, pool, pool), Toy(pause=pause), num).computed)


if __name__ == "__main__":
    main()
