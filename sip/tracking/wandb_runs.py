"""W&B: how a run is started, and what it shows of pictures.

What is logged says nothing of where things lie on this machine: W&B's own notes on program, host
folders, installed packages and terminal output are off, and of absolute paths the last part stays.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from PIL import Image

from sip.config.provenance import environment
from sip.core.image_io import read_rgb
from sip.core.spread import spread
from sip.core.text import values_without_paths, without_paths
from sip.pipeline.offline import Picture

if TYPE_CHECKING:
    import wandb

WAIT = 600  # s for an upload, at the end of a run or of a set; `wandb sync` brings the rest
SHEETS = ("contact_sheet", "rejected", "confusion")  # PNG files of a run folder
SIZE = 512  # px, longer side of a picture in the table, at most
LOSSLESS = 96  # px; up to this size pixels are kept as they are
COLUMNS = (
    *("image_id", "original", "drawn", "class_name", "prompt", "weights", "negative_prompt"),
    *("caption", "similarity", "guidance_scale", "noise_rate", "variant", "seed", "sample_id"),
)


def start(
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
        run_id: The same one is the same W&B run.
        job_type: The room whose work it is.
        values: The configuration; `paths` are left out.
    """
    import wandb

    shown = {
        str(key): values_without_paths(value) for key, value in values.items() if key != "paths"
    }
    made_by = environment()
    made_by["command"] = without_paths(made_by["command"] or "")
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
    known = "finish_timeout" in wandb.Settings.model_fields
    wait: dict[str, Any] = {}
    if known:
        wait = {"finish_timeout": float(WAIT), "finish_timeout_raises": True}
    return wandb.Settings(
        silent=True, console="off", x_disable_meta=True, x_save_requirements=False, **wait
    )


def log_sheets(run: "wandb.Run", folder: Path) -> None:
    """Log those pictures of the run folder that are there, each under its name."""
    import wandb

    files = {name: folder / f"{name}.png" for name in SHEETS}
    shown = {name: wandb.Image(str(file)) for name, file in files.items() if file.is_file()}
    if shown:
        run.log(shown)


def log_pictures(run: "wandb.Run", pictures: Sequence[Picture], at_most: int) -> None:
    """Log a table of drawn pictures, from all over the list, beside originals and prompts."""
    import wandb

    chosen = spread(pictures, at_most)
    if not chosen:
        return
    rows = []
    for picture in chosen:
        shown = describe(picture) | {
            "original": _image(picture.prompt.source),
            "drawn": _image(picture.row["file"], picture.row.get("file_sha256")),
        }
        rows.append([shown[column] for column in COLUMNS])
    run.log({"pictures": wandb.Table(columns=list(COLUMNS), data=rows)})


def describe(picture: Picture) -> dict[str, Any]:
    """Return how a picture came about, in plain JSON types; without any place of this machine."""
    prompt = picture.prompt
    return {
        "image_id": prompt.image_id,
        "sample_id": prompt.sample_id,
        "label": prompt.label,
        "class_name": prompt.class_name,
        "variant": prompt.variant,
        "prompt": prompt.text,
        "weights": ", ".join(f"{span.weight:g}: {span.text.strip()}" for span in prompt.spans),
        "negative_prompt": prompt.negative_prompt,
        "caption": prompt.caption,
        "similarity": prompt.similarity,
        "guidance_scale": prompt.guidance_scale,
        "noise_rate": prompt.noise_rate,
        "seed": str(prompt.seed),  # JavaScript's numbers do not hold it
    }


def _image(path: str, sha256: str | None = None) -> "wandb.Image":
    """Return a picture for a table: small ones pixel by pixel, large ones as a smaller JPEG."""
    import wandb

    picture = read_rgb(path, None, sha256)
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    file_type = "png" if max(picture.size) <= LOSSLESS else "jpg"
    return wandb.Image(picture, file_type=file_type)
