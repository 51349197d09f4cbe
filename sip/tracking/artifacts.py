"""Sets of drawn pictures as W&B artefacts: made by a run of drawing, used by those of training.

A set is named by a fingerprint of how and what was drawn. It holds its pictures, a folder a class,
and `pictures.jsonl` with the provenance of each. The same set has the same bytes whichever run
logs it, so that W&B keeps it once.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from PIL import Image

from sip.core.hashing import digest
from sip.core.image_io import SUFFIXES
from sip.core.tars import read_checked, split_reference
from sip.core.text import values_without_paths
from sip.pipeline.offline import Picture
from sip.tracking import wandb_runs

if TYPE_CHECKING:
    import wandb

TYPE = "drawn_pictures"
LISTING = "pictures.jsonl"


@dataclass(frozen=True)
class DrawnSet:
    """Pictures to train on.

    Attributes:
        pictures: Those that were kept; at least one.
        recipe: Of the offline rooms, the filter too.
        room: Fingerprint of how they were drawn: of the room's recipe.
    """

    pictures: Sequence[Picture]
    recipe: Mapping[str, Any]
    room: str

    @property
    def name(self) -> str:
        """The artefact's name."""
        return f"drawn-{digest([self.room, sorted(self.unique)])[:10]}"

    @property
    def unique(self) -> dict[str, Picture]:
        """The pictures by their ids: two alike originals share one."""
        return {picture.prompt.image_id: picture for picture in self.pictures}

    def artifact(self) -> "wandb.Artifact":
        """Return a new artefact, not logged yet; files of their own are not copied."""
        import wandb

        made = wandb.Artifact(
            self.name,
            TYPE,
            metadata={
                "num_pictures": len(self.unique),
                "recipe": values_without_paths(dict(self.recipe)),
            },
        )
        lines = []
        for image_id, picture in sorted(self.unique.items()):
            file = picture.row["file"]
            data = read_checked(file, picture.row.get("file_sha256"))
            place = f"{picture.prompt.label}/{image_id}"
            if split_reference(file) is None:
                place += Path(file).suffix
                made.add_file(file, place, skip_cache=True, policy="immutable")
            else:
                place += _suffix(data)
                with made.new_file(place, "wb") as copy:
                    copy.write(data)
            facts = {"file": place} | wandb_runs.describe(picture)
            lines.append(json.dumps(facts, ensure_ascii=False))
        with made.new_file(LISTING, encoding="utf-8") as listing:
            listing.write("\n".join(lines) + "\n")
        return made


def publish(
    drawn: DrawnSet, config: DictConfig, folder: Path, group: str | None
) -> "wandb.Artifact":
    """Log a set as the output of a W&B run of its own, of job type "images"; return the artefact.

    Args:
        config: The `logger` node.
        folder: Of the run, whose contact sheets are shown; gets W&B's files.
        group: The experiment.
    """
    run = wandb_runs.start(
        config,
        folder,
        run_id=drawn.name,
        name=drawn.name,
        group=group,
        job_type="images",
        values=dict(drawn.recipe),
    )
    artifact = run.log_artifact(drawn.artifact())
    wandb_runs.log_sheets(run, folder)
    wandb_runs.log_pictures(run, drawn.pictures, config.max_pictures)
    run.summary["num_drawn"] = len(drawn.unique)
    if config.mode == "online":
        artifact.wait(wandb_runs.WAIT)
    run.finish()
    return artifact


def use(run: "wandb.Run", drawn: DrawnSet, artifact: "wandb.Artifact") -> None:
    """Note that a W&B run reads a set that was published."""
    if not run.offline:
        run.use_artifact(artifact)
        return
    # `use_artifact` refuses offline, since it would ask the server. What it does for an artefact
    # not logged yet works: `wandb sync` finds the same content there and notes its use.
    run._log_artifact(drawn.artifact(), is_user_created=True, use_after_commit=True)


def _suffix(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as picture:
        return SUFFIXES[str(picture.format).lower()]
