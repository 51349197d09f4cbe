"""`sip.generate` and `sip.preview`: the command line's own generation, called from Python."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, ParamSpec

from sip.api.data import given
from sip.api.run import Run, RunImage
from sip.config.command import Command
from sip.config.job import job
from sip.config.provenance import command
from sip.config.words import by_meaning
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.core.object_cache import folder_on_disk
from sip.core.progress import say, silent

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from PIL import Image

P = ParamSpec("P")
GROUPS = ("captions", "scores", "prompts", "images", "filter", "profile", "runtime")


def _names_overrides(call: Callable[P, Run]) -> Callable[P, Run]:
    """Have an unknown argument answered with the override that means the same, if there is one."""
    known = signature(call).parameters

    @wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Run:
        for name, value in kwargs.items():
            if name not in known and (meant := by_meaning(name, str(value), GROUPS)):
                raise TypeError(
                    f"{call.__name__}() got an unexpected keyword argument {name!r}; in "
                    f"overrides=[...]: {meant}"
                )
        return call(*args, **kwargs)

    return checked


@_names_overrides
def generate(
    data: Any,
    *,
    model: str | None = None,
    noise_rate: float | None = None,
    guidance_scale: float | None = None,
    per_sample: int | None = None,
    label: str | None = None,
    class_names: Sequence[str] | None = None,
    profile: str = "paper",
    overrides: Iterable[str] = (),
    store: str | os.PathLike[str] = "store",
    runs: str | os.PathLike[str] = "runs",
    device: str | None = None,
    progress: bool = True,
) -> Run:
    """Generate images from each of the given ones; what is in the store is not made again.

    The recipes, the store and the images are those of `python -m sip.generate`; `Run.command` is
    the command line. A call that was interrupted goes on when it is made again.

    Args:
        data: The images: a folder with a folder per class (and parts train, val and test if it has
            them), a list of (image, label), a `pandas.DataFrame` or `datasets.Dataset` with columns
            image and label, a torchvision data set, or the name of a data set (`conf/dataset`).
            An image is a file, a PIL image, or pixels in uint8.
        model: A choice of `conf/images`, such as "sd15", "sdxl" or "z_image_turbo"; None: that of
            the profile.
        noise_rate: Share of the noise schedule that is run, in (0, 1]; None: 0.5, one of the
            paper's three.
        guidance_scale: One scale for all images; None: by each caption's similarity (the paper).
        per_sample: Images from each original; None: 1.
        label: The class of all images, if `data` has no classes.
        class_names: Words for labels that are numbers, by number. A run numbers the classes that
            have an image, in this order.
        profile: A choice of `conf/profile`: "paper" for photographs, "embedded" for the miniature
            models, which know digits only.
        overrides: Further settings, as on the command line: "prompts=label",
            "images.num_steps=20".
        store: Folder of the store, or its place in an object store.
        runs: Folder of the runs.
        device: "cpu" or "cuda"; None: a GPU if there is one. One device; several with the command
            line.
        progress: Whether to print bars, and what is noticed.

    Raises:
        UserError: A value is wrong or something is missing, in one line, before costly work.
    """
    store, runs = (os.path.expanduser(str(place)) for place in (store, runs))
    settings = [
        f"profile={profile}",
        Command.of_text("paths.store", store),
        Command.of_text("paths.runs", runs),
        *_settings(model, noise_rate, guidance_scale, per_sample, device),
        *_checked(overrides),
    ]
    with silent(not progress):
        if not isinstance(data, str | os.PathLike):  # images in memory are encoded and written
            _check(settings)
        images = given(data, label, class_names, folder_on_disk(store))
        if images.remark:
            say("labels", images.remark)
        with job("generate", [*images.overrides, *settings]) as config:
            from sip.jobs.generate import finish

            _require_one_process(config)
            folder = finish(config, show=lambda table: None)
    return Run(folder, store, images.files)


@dataclass(frozen=True)
class Preview:
    """What SIP makes of one image.

    Attributes:
        images: What was generated.
        run: The run that they are of.
    """

    images: tuple[RunImage, ...]
    run: Run

    @property
    def image(self) -> "Image.Image":
        """The first generated image."""
        return self.images[0].image

    @property
    def original(self) -> "Image.Image":
        """The image that it was generated from, upright RGB."""
        return self.images[0].original_image

    @property
    def candidates(self) -> tuple[tuple[str, float], ...]:
        """The captions with their cosines, the best first."""
        return self.images[0].candidates

    @property
    def prompt(self) -> str:
        """The prompt."""
        return self.images[0].prompt

    @property
    def guidance_scale(self) -> float | None:
        """The scale of classifier-free guidance; None if the generator reads none."""
        return self.images[0].guidance_scale

    def _repr_png_(self) -> bytes | None:
        """Show original and images in a notebook."""
        return self.run._repr_png_()


def preview(image: Any, label: str, *, num: int = 1, **settings: Any) -> Preview:
    """Generate from one image, to see what a setting does.

    Args:
        image: A file, a PIL image, or pixels in uint8.
        label: Its class in words.
        num: Images to generate.
        settings: Further arguments of `sip.generate`.

    Raises:
        UserError: As of `sip.generate`; or no image could be generated.
    """
    if "per_sample" in settings:
        raise UserError(
            f"per_sample: must be left out of a preview, got {settings['per_sample']!r}; say num="
        )
    run = generate([(image, label)], per_sample=num, **settings)
    if not len(run):
        raise UserError(f"preview: no image could be generated; {run.folder} says why")
    return Preview(tuple(run), run)


def _check(settings: Sequence[str]) -> None:
    """Check settings as far as the images play no part in them."""
    from sip.core.files import check_folders
    from sip.pipeline.offline import Offline

    with silent(), job("generate", ["dataset=csv", "dataset.path=", *settings]) as config:
        check_folders(config.paths)
        Offline(config)


def _require_one_process(config: "DictConfig") -> None:
    """Refuse a plan, and several devices, whose processes would run the whole program again."""
    fix = f"use the command line: {command()}"
    if config.plan:
        raise refuse("plan", "false in a program", True, fix)
    devices, num_nodes = config.trainer.devices, config.trainer.num_nodes
    if (devices, num_nodes) != (1, 1):
        got = f"devices={devices} num_nodes={num_nodes}"
        raise refuse("trainer", "one device in a program", got, fix)


def _settings(
    model: str | None,
    noise_rate: float | None,
    guidance_scale: float | None,
    per_sample: int | None,
    device: str | None,
) -> list[str]:
    """Return the overrides of the arguments that were given."""
    settings = [] if model is None else [f"images={model}"]
    if guidance_scale is not None:
        settings += ["prompts/guidance=constant", f"prompts.guidance.scale={guidance_scale}"]
    values = {
        "prompts.noise_rate": noise_rate,
        "images.per_sample": per_sample,
        "runtime.device": device,
    }
    return settings + [f"{key}={value}" for key, value in values.items() if value is not None]


def _checked(overrides: Iterable[str]) -> list[str]:
    if isinstance(overrides, str):
        raise UserError(
            f"overrides: must be a list, got the text {overrides!r}; write [{overrides!r}]"
        )
    return list(overrides)
