"""Step 3: a generator of natural images, CIFAR-10 at 32 px, class-conditional.

Trained on 40,000 training images (a fixed seed chooses them; the other 10,000 are held out). The
learning rate follows the clock, so the training always ends in time. A run continues from the
moving average in `resume=` (or in `output`), with fresh optimiser state and half the learning
rate.
"""

import time
from typing import Any

import torch

from experiments.gpu import cifar, shards
from experiments.gpu.flow import NO_CLASS, Progress, Trainer, autocast, make_unet
from experiments.gpu.job import Job, rounded
from experiments.gpu.latents import CHANNELS, PatchPCA
from experiments.gpu.settings import TINY_TRAINING
from experiments.gpu.sheet import plot_sheet

NUM_TRAIN, TINY_TRAIN = 40_000, 400
CHOICE_SEED = 0  # of the images that are trained on
WIDTHS, TINY_WIDTHS = (128, 256), (32, 32)
LAYERS, TINY_LAYERS = 2, 1
SIZE = 8  # of the latents
BATCH, TINY_BATCH = 512, 32
LR = 5e-4
RESUMED_LR = 0.5  # of it, in a run that continues
EAGER_SECONDS = 4.0  # measured before the compilation
COMPILE_LEAST = 150.0  # s of training, for which compiling pays
END_SECONDS, TINY_END_SECONDS = 30.0, 20.0  # for the samples and the last checkpoint
LEAST_SECONDS = 1.0  # of training after the compilation, however long that took
SAVE_EVERY = 60.0  # s
STEM = "natural"
NUM_HELD = 2048  # held-out images of the validation loss


def run(job: Job) -> None:
    """Train, save, sample."""
    began = time.perf_counter()
    torch.manual_seed(1)
    tiny, device = job.settings.tiny, torch.device(job.settings.device)
    images, labels = cifar.read(job, "train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(CHOICE_SEED))
    number = TINY_TRAIN if tiny else NUM_TRAIN
    chosen, held = order[:number], order[number:]
    pca = PatchPCA.fit(images[chosen]).to(device)
    held_images, held_labels = images[held].to(device), labels[held].to(device)
    train_images = images[chosen].to(device)
    job.record(
        num_train=len(chosen),
        num_held_out=len(held),
        latent_psnr_db_held_out=rounded(pca.psnr(held_images)),
    )
    network = make_unet(
        TINY_WIDTHS if tiny else WIDTHS, TINY_LAYERS if tiny else LAYERS, CHANNELS, SIZE
    ).to(device)
    progress = _restore(job, network)
    trainer = Trainer(
        network,
        pca.encode(train_images),
        pca.encode(train_images.flip(3)),
        labels[chosen].to(device),
        LR * (RESUMED_LR if progress.runs > 1 else 1),
        TINY_BATCH if tiny else BATCH,
    )
    job.record(
        parameters_m=rounded(sum(weight.numel() for weight in network.parameters()) / 1e6),
        run=progress.runs,
        images_before=progress.images,
        seconds_to_start=rounded(time.perf_counter() - began),
    )
    _train(job, trainer, progress, pca)
    trainer.note(progress)
    _save(job, trainer, progress, pca)
    held_loss = _held_out_loss(trainer, pca.encode(held_images[:NUM_HELD]), held_labels[:NUM_HELD])
    job.record(held_out_loss=rounded(held_loss))
    last = progress.loss[-1][1]
    job.record(
        summary=f"{progress.images:,} images in {progress.runs} runs, loss {last:.4f}, held out "
        f"{held_loss:.4f}, {job.results['images_per_s']} images/s"
    )
    sheet = job.settings.output / "natural.png"
    plot_sheet(sheet, trainer.average, pca, held_images, held_labels, progress, tiny)
    job.record(sheet=sheet.name)


def _restore(job: Job, network: torch.nn.Module) -> Progress:
    """Load the weights of an earlier run if there are any; return how far it was."""
    folder = job.settings.resume or job.settings.output
    stored = shards.load(folder, STEM)
    if stored is None:
        if job.settings.resume:
            raise ValueError(f"resume: must hold {STEM}-*.safetensors, got {folder}")
        return Progress(runs=1)
    weights, config = stored
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    loss = [(int(images), float(value)) for images, value in config["loss"]]
    return Progress(config["images"], config["runs"] + 1, loss)


def _save(job: Job, trainer: Trainer, progress: Progress, pca: PatchPCA) -> None:
    """Write the moving average, with what a reader needs to use it."""
    config = {
        "network": dict(trainer.average.config),
        "no_class": NO_CLASS,
        "latents": {"mean": pca.mean.tolist(), "basis": pca.basis.tolist()},
        "images": progress.images,
        "runs": progress.runs,
        "loss": progress.loss,
    }
    number = shards.save(job.settings.output, STEM, trainer.average.state_dict(), config)
    job.record(images=progress.images, weight_files=number, loss=progress.loss)


def _train(job: Job, trainer: Trainer, progress: Progress, pca: PatchPCA) -> None:
    """Train for the time that is there: a little in eager mode, the rest compiled if that pays."""
    tiny = job.settings.tiny
    budget = job.left() - (TINY_END_SECONDS if tiny else END_SECONDS)
    if tiny:
        budget = min(budget, TINY_TRAINING)
    began = saved = time.perf_counter()

    def over() -> float:
        return (time.perf_counter() - began) / budget

    def every() -> None:
        nonlocal saved
        job.record(loss=progress.loss, images=progress.images)
        if time.perf_counter() - saved > SAVE_EVERY:
            _save(job, trainer, progress, pca)
            saved = time.perf_counter()

    trainer.run(min(EAGER_SECONDS, budget / 4), over, progress, every)  # kernels are chosen
    eager = trainer.run(min(EAGER_SECONDS, budget / 4), over, progress, every)
    job.record(images_per_s=rounded(eager), eager_images_per_s=rounded(eager))
    if tiny or (job.is_cuda and budget > COMPILE_LEAST):
        _compile(job, trainer, over, "eager" if tiny else "inductor")
    rate = trainer.run(max(LEAST_SECONDS, budget * (1 - over())), over, progress, every)
    job.record(images_per_s=rounded(rate), seconds_of_training=rounded(budget * over()))
    if job.is_cuda:
        job.record(peak_memory=f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def _compile(job: Job, trainer: Trainer, over: Any, backend: str) -> None:
    """Compile the network in place; if that fails, say so and go on without."""
    began = time.perf_counter()
    trainer.network.compile(dynamic=False, backend=backend)
    try:
        trainer.step(over())
        job.synchronize()
    except Exception as error:  # a compiler can fail in any way; the training need not
        trainer.network._compiled_call_impl = None
        job.record(compile_error=f"{type(error).__name__}: {error}"[:500])
        return
    job.record(seconds_to_compile=rounded(time.perf_counter() - began))


@torch.inference_mode()
def _held_out_loss(trainer: Trainer, latents: Any, labels: Any) -> float:
    """Return the moving average's loss on held-out images, at the same times and noise always."""
    generator = torch.Generator().manual_seed(2)
    times = torch.randn(len(latents), generator=generator).sigmoid().to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    t = times[:, None, None, None]
    with autocast(latents.device):
        noised = (1 - t) * latents + t * noise
        predicted = trainer.average(noised, times * 1000, class_labels=labels).sample
    return float((predicted.float() - (noise - latents)).square().mean())
