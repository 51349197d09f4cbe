"""The curves of a part's training: a CSV file always, W&B too if it is chosen."""

import csv
from functools import partial
from types import TracebackType
from typing import Any, Self

from sip.core.component import refuse
from sip.core.hashing import digest
from sip.stack.work import Work

FOLDER = "curves"
LOGGERS = ("csv", "wandb")
COLUMNS = ("step", "loss", "lr", "seconds")


def require_curves(config: Any) -> None:
    """Check that the curves can go to the chosen logger.

    Args:
        config: The `logger` node.

    Raises:
        UserError: They cannot.
    """
    if config.kind not in LOGGERS:
        fix = "choose logger=csv: the curves are in the folder of the stack"
        raise refuse("logger", f"{' or '.join(LOGGERS)} for a stack", config.kind, fix)


class Curve:
    """The curve of one part; a resumed training drops the rows after its checkpoint.

    If W&B fails, the training goes on without it.

    Args:
        part: Name of the part.
        start: Steps that were taken before.
        work: The folder, and whether W&B gets it too.
    """

    def __init__(self, part: str, start: int, work: Work) -> None:
        self.file = work.folder / FOLDER / f"{part}.csv"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        if start and self.file.exists():
            with self.file.open(newline="") as opened:
                rows = [row for row in csv.reader(opened) if row[0].isdigit()]
        kept = [row for row in rows if int(row[0]) <= start]
        self._stream = self.file.open("w", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")
        self._writer.writerows([COLUMNS, *kept])
        self._run: Any = None
        if work.logger.get("kind") == "wandb":
            from sip.tracking.safely import Safely

            self._safely = Safely("wandb")
            self._run = self._safely(partial(self._start, part, work))

    def _start(self, part: str, work: Work) -> Any:
        from omegaconf import OmegaConf

        from sip.tracking.wandb import start_run

        name = f"{work.folder.name}-{part}"
        return start_run(
            OmegaConf.create(work.logger),
            work.folder,
            run_id=digest(name, work.values.get("seed"))[:10],
            name=name,
            group=work.folder.name,
            job_type="stack",
            values=work.values,
        )

    def add(self, step: int, loss: float, lr: float, seconds: float) -> None:
        """Add a point; `seconds` is what the training took until then."""
        self._writer.writerow([step, f"{loss:.6g}", f"{lr:.6g}", f"{seconds:.1f}"])
        self._stream.flush()
        if self._run is not None:
            values = {"train/loss": loss, "train/lr": lr}
            self._safely(lambda: self._run.log(values, step=step))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if self._run is not None:
            self._safely(self._run.finish)
