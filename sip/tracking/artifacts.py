"""Sets of generated images as W&B artifacts: output of a generation run, input of training runs.

A set is named by a hash of how it was generated and of its images. It holds its images, a folder a
class, and `images.jsonl` with the provenance of each. The same set has the same bytes whichever run
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
from sip.core.uri import is_uri
from sip.pipeline.stored import StoredImage
from sip.tracking.wandb import WAIT, describe, log_images, log_sheets, start_run

if TYPE_CHECKING:
    import wandb

TYPE = "generated_images"
LISTING = "images.jsonl"


@dataclass(frozen=True)
class GeneratedSet:
    """Generated images to train on.

    Attributes:
        images: Those that were kept; at least one.
        recipe: Recipe of the stages before the classifier, the filter included.
        fingerprint: Fingerprint of the images stage: how they were generated.
    """

    images: Sequence[StoredImage]
    recipe: Mapping[str, Any]
    fingerprint: str

    @property
    def name(self) -> str:
        """Name of the artifact."""
        return f"generated-{digest([self.fingerprint, sorted(self.unique)])[:10]}"

    @property
    def unique(self) -> dict[str, StoredImage]:
        """Image id -> image; two equal originals share one."""
        return {image.prompt.image_id: image for image in self.images}

    def artifact(self) -> "wandb.Artifact":
        """Return a new artifact, not logged yet; files of their own are not copied."""
        import wandb

        made = wandb.Artifact(
            self.name,
            TYPE,
            metadata={
                "num_images": len(self.unique),
                "recipe": values_without_paths(dict(self.recipe)),
            },
        )
        lines = []
        for image_id, image in sorted(self.unique.items()):
            file = image.file
            data = read_checked(file, image.row.file_sha256)
            place = f"{image.prompt.label}/{image_id}"
            if split_reference(file) is None and not is_uri(file):
                place += Path(file).suffix
                made.add_file(file, place, skip_cache=True, policy="immutable")
            else:
                place += _suffix(data)
                with made.new_file(place, "wb") as copy:
                    copy.write(data)
            lines.append(json.dumps({"file": place} | describe(image), ensure_ascii=False))
        with made.new_file(LISTING, encoding="utf-8") as listing:
            listing.write("\n".join(lines) + "\n")
        return made


def publish(
    images: GeneratedSet, config: DictConfig, folder: Path, group: str | None
) -> "wandb.Artifact":
    """Log a set as the output of a W&B run of its own, of job type "images"; return the artifact.

    Args:
        config: The `logger` node.
        folder: Folder of the run, whose contact sheets are shown; gets W&B's files.
        group: Name of the experiment.
    """
    run = start_run(
        config,
        folder,
        run_id=images.name,
        name=images.name,
        group=group,
        job_type="images",
        values=dict(images.recipe),
    )
    artifact = run.log_artifact(images.artifact())
    log_sheets(run, folder)
    log_images(run, images.images, config.max_images)
    run.summary["num_generated"] = len(images.unique)
    if config.mode == "online":
        artifact.wait(WAIT)
    run.finish()
    return artifact


def use(run: "wandb.Run", images: GeneratedSet, artifact: "wandb.Artifact") -> None:
    """Note that a W&B run reads a set that was published."""
    if not run.offline:
        run.use_artifact(artifact)
        return
    # `use_artifact` refuses offline, since it would ask the server. What it does for an artifact
    # not logged yet works: `wandb sync` finds the same content there and notes its use.
    run._log_artifact(images.artifact(), is_user_created=True, use_after_commit=True)


def _suffix(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        suffixes = {str(name): suffix for name, suffix in SUFFIXES.items()}
        return suffixes[str(image.format).lower()]
