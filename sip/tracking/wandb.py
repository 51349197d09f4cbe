"""W&B: start a run, and show its images.

Nothing that is logged says where files lie on this machine: W&B's own notes on program, host
folders, installed packages and terminal output are off, and absolute paths keep only their last
part.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from sip.config.provenance import environment
from sip.core.image_io import read_rgb
from sip.core.spread import spread
from sip.core.text import command_without_paths, values_without_paths
from sip.pipeline.stored import StoredImage
from sip.tracking.safely import SafeLogging, Safely

if TYPE_CHECKING:
    import wandb

WAIT = 600  # s for an upload at the end of a run or a set; `wandb sync` uploads the rest
SHEETS = ("contact_sheet", "rejected", "confusion")  # PNG files of a run folder
SIZE = 512  # px, longer side of an image in the table, at most
LOSSLESS = 96  # px; up to this size pixels are kept as they are
COLUMNS = (
    *("image_id", "original", "generated", "class_name", "prompt", "weights", "negative_prompt"),
    *("caption", "similarity", "guidance_scale", "noise_rate", "variant", "seed", "sample_id"),
)


class SafeLogger(SafeLogging, WandbLogger):
    """Lightning's logger for a W&B run that was started; `finish` closes the run.

    Args:
        run: The run.
        safely: Shared with everything else that is logged to it.
        max_images: Generated images in its table, at most.
    """

    def __init__(self, run: "wandb.Run", safely: Safely, max_images: int) -> None:
        self.safely = safely
        self.max_images = max_images
        super().__init__(experiment=run)

    def finish(
        self, summary: Mapping[str, Any], folder: Path, images: Sequence[StoredImage]
    ) -> None:
        """Log the final numbers, the sheets and a table of images, and close the run."""
        run = self.experiment
        log_sheets(run, folder)
        log_images(run, images, self.max_images)
        run.summary.update(dict(summary))
        run.finish()


def start_run(
    config: DictConfig,
    folder: Path,
    *,
    run_id: str,
    name: str,
    group: str | None,
    job_type: str,
    values: Mapping[str, Any],
) -> "wandb.Run":
    """Start a W&B run; one that a failed job left open is closed first.

    Args:
        config: The `logger` node.
        folder: Gets W&B's files.
        run_id: The same id is the same W&B run.
        job_type: The stage whose work it is.
        values: The configuration; `paths` are left out.
    """
    import wandb

    shown = {
        str(key): values_without_paths(value) for key, value in values.items() if key != "paths"
    }
    made_by = environment()
    made_by["command"] = command_without_paths(made_by["command"] or "")
    run = wandb.init(
        name=name,
        dir=str(folder),
        id=run_id,
        project=config.project,
        entity=config.entity,
        group=group,
        job_type=job_type,
        mode=config.mode,
        resume="allow" if config.mode == "online" else None,
        reinit="finish_previous",
        config=shown | {"made_by": made_by},
        settings=_settings(),
    )
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step")
    return run


def _settings() -> "wandb.Settings":
    import wandb

    # Older versions cannot give up an upload; they wait for it at the end.
    wait: dict[str, Any] = {}
    if "finish_timeout" in wandb.Settings.model_fields:
        wait = {"finish_timeout": float(WAIT), "finish_timeout_raises": True}
    return wandb.Settings(
        silent=True, console="off", x_disable_meta=True, x_save_requirements=False, **wait
    )


def log_sheets(run: "wandb.Run", folder: Path) -> None:
    """Log the contact sheets of the run folder, each under its name."""
    import wandb

    files = {name: folder / f"{name}.png" for name in SHEETS}
    shown = {name: wandb.Image(str(file)) for name, file in files.items() if file.is_file()}
    if shown:
        run.log(shown)


def log_images(run: "wandb.Run", images: Sequence[StoredImage], at_most: int) -> None:
    """Log a table of generated images, spread over the list, with originals and prompts."""
    import wandb

    chosen = spread(images, at_most)
    if not chosen:
        return
    rows = []
    for image in chosen:
        shown = describe(image) | {
            "original": _thumbnail(image.prompt.source),
            "generated": _thumbnail(image.file, image.row.file_sha256),
        }
        rows.append([shown[column] for column in COLUMNS])
    run.log({"images": wandb.Table(columns=list(COLUMNS), data=rows)})


def describe(image: StoredImage) -> dict[str, Any]:
    """Return how an image was generated, in plain JSON types and without any path."""
    prompt = image.prompt
    return {
        "image_id": prompt.image_id,
        "sample_id": prompt.sample_id,
        "label": prompt.label,
        "class_name": prompt.class_name,
        "variant": prompt.variant,
        "prompt": prompt.text,
        "weights": ", ".join(f"{span.weight:g}: {span.text.strip()}" for span in prompt.spans),
        "negative_prompt": image.fact("negative_prompt"),
        "caption": prompt.caption,
        "similarity": prompt.similarity,
        "guidance_scale": image.fact("guidance_scale"),
        "noise_rate": image.fact("noise_rate"),
        "seed": str(prompt.seed),  # JavaScript's numbers do not hold it
        **({} if prompt.source_class is None else prompt.source_class.to_dict()),
    }


def _thumbnail(path: str, sha256: str | None = None) -> "wandb.Image":
    """Return an image for a table: small ones pixel by pixel, large ones as a smaller JPEG."""
    import wandb

    image = read_rgb(path, None, sha256)
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    file_type = "png" if max(image.size) <= LOSSLESS else "jpg"
    return wandb.Image(image, file_type=file_type)
