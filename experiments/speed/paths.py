"""Cost of each way of generating next to its bare forwards: time and peak memory.

    python -m experiments.speed.paths [REPEATS [NAME,...]]

Results: `paths.md`. (a) is a run of only the forwards of text encoders, denoiser and autoencoder:
those that (b), the generation from image files to committed shards, makes, with the same inputs.
Models are those of the tests with wider and deeper denoisers, random weights, one thread.
"""

import gc
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from sip.benchmark.generation import Bench
from sip.benchmark.workload import make_prompts
from sip.core.machine import processor
from sip.core.shapes import Size
from sip.images.quiet import quiet
from sip.pipeline.offline import Offline
from sip.prompts.base import Prompt
from tests.composing import composed
from tests.images import flow_models, models

REPEATS = 3
NUM_IMAGES = 10
BATCH = 5
SHAPES = (Size(128, 128), Size(160, 120), Size(120, 160), Size(180, 120))  # of mixed originals
HEADER = ("path", "a, s", "b, s", "a/b", "a, MB", "b, MB", "b/a of memory")
PLAIN = ("prompts.label_weight=1", "prompts.caption_weight=1")
WIDE = {"num_attention_heads": 8, "num_layers": 2, "num_single_layers": 4}
UNET = {"block_out_channels": (128, 256), "norm_num_groups": 8}


@dataclass(frozen=True)
class Path_:
    """A way of generating.

    Attributes:
        save: Saves a tiny model.
        part: The denoiser's folder.
        larger: What is larger in the denoiser's configuration.
        settings: Overrides.
    """

    save: Callable[[Path], Path]
    part: str
    larger: dict[str, Any]
    settings: Sequence[str] = field(default=())


def unet(*settings: str) -> Path_:
    """Return a way with Stable Diffusion."""
    return Path_(models.save_sd, "unet", UNET, ("images.scheduler=ddim", *settings))


def flow(save: Callable[[Path], Path], larger: dict[str, Any], *settings: str) -> Path_:
    """Return a way with a transformer."""
    return Path_(save, "transformer", larger, ("images.scheduler=euler", *settings))


PATHS = {
    "sd": unet(),
    "sdxl": Path_(models.save_sdxl, "unet", UNET, ("images.scheduler=euler",)),
    "sd35": flow(
        lambda folder: models.save_sd3(folder, qk_norm="rms_norm", dual_attention_layers=(0,)),
        {"num_attention_heads": 8, "caption_projection_dim": 128, "num_layers": 4},
    ),
    "flux": flow(lambda folder: flow_models.save_flux(folder, True), WIDE),
    "z_image": flow(
        flow_models.save_z_image,
        {"dim": 192, "n_heads": 12, "n_kv_heads": 12, "n_layers": 4},
        *PLAIN,
    ),
    "qwen_image": flow(
        flow_models.save_qwen_image, {"num_attention_heads": 12, "num_layers": 4}, *PLAIN
    ),
    "edit": Path_(
        flow_models.save_klein, "transformer", WIDE, ("images=edit", "images.dtype=float32", *PLAIN)
    ),
    "inpaint": unet("images=inpaint", "images.masks.folder=masks"),
    "int8": unet("images.quantization=int8"),
    "tiny vae": unet("images.vae=taesd"),
    "hyper8": unet("images.timestep_spacing=trailing", "images.num_steps=8"),
    "aspect=keep": unet("images.aspect=keep"),
}
OWN = {"aspect=keep": 128, "edit": 128}  # px; else 64 of U-Nets, 128 of transformers


def main() -> None:
    """Measure the ways that are named, or all."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    names = sys.argv[2].split(",") if len(sys.argv) > 2 else list(PATHS)
    torch.set_num_threads(1)
    print(f"{processor()}, one thread, torch {torch.__version__}\n")
    print(" | ".join(HEADER), " | ".join("---" for _ in HEADER), sep="\n", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="sip-paths-") as folder:
            print(row(name, measure(name, Path(folder), repeats)), flush=True)


def row(name: str, found: dict[str, list[float]]) -> str:
    """Return a row of the table; medians, of the ratio the smallest and the largest too."""
    ratios = [a / b for a, b in zip(found["a"], found["b"], strict=True)]
    spread = f"{median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"
    a, b = (found[key][0] / 1e6 for key in ("memory of a", "memory of b"))
    times = (f"{median(found[key]):.2f}" for key in "ab")
    return " | ".join([name, *times, spread, f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.3f}"])


def measure(name: str, folder: Path, repeats: int) -> dict[str, list[float]]:
    """Return CPU seconds of (a) and (b), turn by turn, and bytes of their peaks."""
    bench = prepared(name, folder)
    inputs = folder / "inputs.pt"
    found: dict[str, list[float]] = {"a": [], "b": []}
    found["memory of b"] = [peak(lambda: record(bench, folder / "first", inputs))]
    found["memory of a"] = [peak(lambda: Forwards(bench, inputs).run())]
    forwards = Forwards(bench, inputs)
    for _ in range(repeats):
        found["a"].append(seconds(forwards.run))
        found["b"].append(seconds(lambda: bench._generate(folder / "store")))
        shutil.rmtree(folder / "store")
    return found


def prepared(name: str, folder: Path) -> Bench:
    """Return the benchmark of a way, its model loaded."""
    path = PATHS[name]
    size = OWN.get(name, 64 if path.part == "unet" else 128)
    with quiet():
        enlarge(path.save(folder / "model"), path)
        if name == "tiny vae":
            channels = {"encoder_block_out_channels": (16,) * 3, "num_encoder_blocks": (1,) * 3}
            channels |= {"decoder_block_out_channels": (16,) * 3, "num_decoder_blocks": (1,) * 3}
            diffusers.AutoencoderTiny(**channels).save_pretrained(folder / "vae")
    settings = [f"{s.replace('=taesd', f'={folder}/vae').replace('=masks', f'={folder}/masks')}"
                for s in path.settings]  # fmt: skip
    common = [
        f"images.model={folder}/model",
        *("images.revision=null", "images.num_steps=8", f"images.size={size}"),
        *(f"runtime.batch_size.images={BATCH}", "runtime.num_threads=1", "runtime.device=cpu"),
        f"paths.store={folder}/store",
    ]
    for number in range(NUM_IMAGES if name == "inpaint" else 0):
        mask = np.zeros((size, size), np.uint8)
        mask[8:40, number : number + 24] = 255
        (folder / "masks" / "benchmark").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / "benchmark" / f"{number}.png")
    offline = Offline(composed(*common, *settings, name="benchmark"))
    offline.require()
    prompts = make_prompts(offline, NUM_IMAGES, folder / "images")
    if name == "aspect=keep":
        prompts = [reshaped(prompt, number, folder) for number, prompt in enumerate(prompts)]
    bench = Bench(offline, prompts, folder)
    bench.engine = offline.models.module("images")
    return bench


def enlarge(folder: Path, path: Path_) -> None:
    """Replace a model's denoiser by a larger one."""
    kind = getattr(diffusers, diffusers.DiffusionPipeline.load_config(folder)[path.part][1])
    torch.manual_seed(0)
    kind.from_config({**kind.load_config(folder / path.part), **path.larger}).save_pretrained(
        folder / path.part
    )


def reshaped(prompt: Prompt, number: int, folder: Path) -> Prompt:
    """Return a prompt with an original of another shape."""
    size = SHAPES[number % len(SHAPES)]
    file = folder / f"{number}.png"
    Image.open(prompt.source).resize(size).save(file)
    return replace(prompt, source=str(file), source_size=size)


class Forwards:
    """The forwards of a generation, to be run again.

    Args:
        bench: With the models.
        file: What `record` wrote.
    """

    def __init__(self, bench: Bench, file: Path) -> None:
        self.calls, self.order = torch.load(file, weights_only=False)
        self.functions = {name: getattr(*part) for name, part in parts(bench).items()}

    @torch.inference_mode()
    def run(self) -> None:
        """Run them all."""
        for number in self.order:
            name, given, named = self.calls[number]
            self.functions[name](*given, **named)


def parts(bench: Bench) -> dict[str, tuple[Any, str]]:
    """Return name -> model and method of each forward that a generation makes."""
    engine: Any = bench.engine
    models = engine.pipeline if hasattr(engine, "pipeline") else engine.models
    denoiser = engine.denoiser if hasattr(engine, "denoiser") else models.denoiser
    holders = [getattr(models, name, None) for name in ("text", "text_2", "t5")]  # of a family
    encoders = [getattr(holder, "encoder", None) for holder in (models, *holders)]
    encoders += [getattr(models, f"text_encoder{end}", None) for end in ("", "_2", "_3")]
    return {
        "denoise": (denoiser, "forward"),
        "encode": (models.vae, "encode"),
        "decode": (models.vae, "decode"),
        **{f"text {n}": (model, "forward") for n, model in enumerate(encoders) if model},
    }


def record(bench: Bench, store: Path, file: Path) -> None:
    """Generate, and write the inputs of all forwards: those of one shape once."""
    known: dict[str, int] = {}
    calls: list[tuple[str, Any, Any]] = []
    order: list[int] = []
    with ExitStack() as stack:
        for name, (owner, method) in parts(bench).items():
            stack.enter_context(recording(owner, method, name, known, calls, order))
        bench._generate(store)
    torch.save((calls, order), file)


@contextmanager
def recording(
    owner: Any,
    method: str,
    name: str,
    known: dict[str, int],
    calls: list[tuple[str, Any, Any]],
    order: list[int],
) -> Iterator[None]:
    """Note the calls of a method."""
    function = getattr(owner, method)

    def noted(*given: Any, **named: Any) -> Any:
        signature = f"{name} {shape_of(given)} {shape_of(named)}"
        if signature not in known:
            known[signature] = len(calls)
            calls.append((name, given, named))
        order.append(known[signature])
        return function(*given, **named)

    setattr(owner, method, noted)
    try:
        yield
    finally:
        delattr(owner, method)


def shape_of(value: Any) -> str:
    """Return the shapes of the tensors in a value, and all else as it is."""
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)}"
    if isinstance(value, dict):
        return str({key: shape_of(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return str([shape_of(item) for item in value])
    return repr(value)


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU time of all threads that some work takes."""
    gc.collect()
    started = time.process_time()
    work()
    return time.process_time() - started


def peak(work: Callable[[], Any]) -> float:
    """Return the most resident bytes of a process that does some work, and nothing else."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        work()
        sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

    process = context.Process(target=child)
    process.start()
    process.join()
    if not receiver.poll():
        raise RuntimeError("the work failed")
    return float(receiver.recv())


if __name__ == "__main__":
    main()
