"""Words that users of diffusers, timm and Lightning type first -> the keys that mean the same here.

A test composes every one of these commands, so that the table follows the configuration.
"""

import re
import shlex
from collections.abc import Collection
from difflib import get_close_matches

VALUE = "{}"  # stands for the value as typed
OWN_IMAGES = "dataset=image_folder dataset.root={}"
GENERATION, TRAINING = "for the generated images", "for the classifier"
GPU = "trainer.devices={} runtime.device=cuda"
STEPS = {"classifier.steps={}": "of the optimiser", "images.num_steps={}": "of the diffusion model"}
PRECISION = {"classifier.precision={}": TRAINING, "profile.dtype=bfloat16": GENERATION}
CHECKPOINT = {
    "profile.diffusion.model={}": GENERATION,
    "backbone=timm backbone.weights={}": TRAINING,
}

# Words, without regard to case, "-" and "_" -> commands that mean the same -> which of them.
MEANINGS: dict[str, dict[str, str]] = {
    "guidance_scale guidance cfg cfg_scale": {
        "prompts/guidance=constant prompts.guidance.scale={}": ""
    },
    "strength denoising_strength denoise noise noise_level": {"prompts.noise_rate={}": ""},
    "num_inference_steps inference_steps sampling_steps ddim_steps diffusion_steps": {
        "images.num_steps={}": ""
    },
    "steps num_steps": STEPS,
    "max_steps train_steps max_train_steps num_train_steps": {"classifier.steps={}": ""},
    "epochs max_epochs num_epochs num_train_epochs": {
        "classifier.budget=epochs classifier.epochs={}": ""
    },
    "sampler": {"images.scheduler={}": ""},
    "scheduler": {"images.scheduler={}": GENERATION, "classifier/schedule={}": TRAINING},
    "lr_scheduler sched lr_schedule": {"classifier/schedule={}": ""},
    "lr learning_rate base_lr": {"classifier.lr={}": ""},
    "wd weight_decay": {"classifier.weight_decay={}": ""},
    "opt optim optimizer": {"classifier.optimizer={}": ""},
    "momentum": {"classifier.momentum={}": ""},
    "warmup warmup_steps num_warmup_steps lr_warmup_steps": {"classifier.warmup_steps={}": ""},
    "smoothing label_smoothing": {"classifier.label_smoothing={}": ""},
    "gradient_clip_val clip_grad grad_clip max_grad_norm": {"classifier.gradient_clip={}": ""},
    "ema_decay model_ema_decay": {"classifier.ema_decay={}": ""},
    "patience early_stopping": {"classifier.patience={}": ""},
    "val_every eval_every eval_steps val_check_interval": {"classifier.val_every={}": ""},
    "bs batch_size train_batch_size per_device_train_batch_size": {
        "classifier.batch_size={}": TRAINING,
        "runtime.batch_size.images={}": GENERATION,
    },
    "model model_name arch architecture network net": {
        "backbone=timm backbone.name={}": TRAINING,
        "profile.diffusion.model={}": GENERATION,
    },
    "pretrained_model_name_or_path model_id model_path": {"profile.diffusion.model={}": ""},
    "checkpoint ckpt weights": CHECKPOINT,
    "pretrained": {"backbone=timm backbone.weights=default": ""},
    "captioner caption_model blip": {"profile.captioner.model={}": ""},
    "scorer clip_model clip": {"profile.scorer.model={}": ""},
    "prompt": {"prompts.template={}": ""},
    "negative_prompt": {"prompts.negative_prompt={}": ""},
    "n_samples num_samples num_images num_images_per_prompt num_variants": {
        "images.per_sample={}": ""
    },
    "shots num_shots n_shots few_shot k_shot per_class samples_per_class images_per_class": {
        "dataset.shots={}": ""
    },
    "data data_dir data_path data_root dataset_path dataset_dir train_dir train_data_dir": {
        OWN_IMAGES: ""
    },
    "image_dir images_dir img_dir input input_dir root": {OWN_IMAGES: ""},
    "val_split val_size valid_split": {"dataset=image_folder dataset.val_fraction={}": ""},
    "test_split test_size": {"dataset=image_folder dataset.test_fraction={}": ""},
    "image_size img_size resolution size height width": {
        "profile.image_size={}": TRAINING,
        "profile.generation_size={}": GENERATION,
    },
    "aug augment augmentations data_augmentation aa method arm": {"augmentation={}": ""},
    "output output_dir out out_dir save_dir log_dir runs_dir": {"paths.runs={}": ""},
    "cache cache_dir store_dir": {"paths.store={}": ""},
    "name run_name exp_name experiment_name": {"experiment={}": ""},
    "wandb_project project_name": {"logger=wandb logger.project={}": ""},
    "report_to log_with": {"logger={}": ""},
    "seed_everything random_seed manual_seed": {"seed={}": ""},
    "gpus gpu num_gpus n_gpus num_processes nproc_per_node": {GPU: ""},
    "devices num_devices": {"trainer.devices={}": ""},
    "nodes nnodes num_machines": {"trainer.num_nodes={}": ""},
    "accelerator": {"runtime.device=cuda": ""},
    "device": {"runtime.device={}": ""},
    "workers num_workers dataloader_num_workers": {
        "runtime.loader_workers={}": TRAINING,
        "runtime.num_workers={}": GENERATION,
    },
    "threads num_threads": {"runtime.num_threads={}": ""},
    "precision mixed_precision": PRECISION,
    "dtype torch_dtype": {"profile.dtype={}": ""},
    "fp16 amp half": {
        "classifier.precision=16-mixed": TRAINING,
        "profile.dtype=float16": GENERATION,
    },
    "bf16": {"classifier.precision=bf16-mixed": TRAINING, "profile.dtype=bfloat16": GENERATION},
    "compile_model torch_compile": {"runtime.compile=true": ""},
    "xformers flash_attention": {"runtime.attention=efficient": ""},
    "dry_run": {"plan=true": ""},
    "fast_dev_run overfit_batches limit_train_batches quick": {"+exp=quick": ""},
    "overwrite force no_cache": {"train.reuse=false": ""},
}
# Groups that take more than their files: how another value is given.
OPEN_GROUPS = {
    "backbone": ("any other model of timm", "backbone=timm backbone.name={}"),
    "dataset": ("own images", OWN_IMAGES),
    "images": ("another checkpoint", "profile.diffusion.model={}"),
    "captions": ("another checkpoint", "profile.captioner.model={}"),
    "scores": ("another checkpoint", "profile.scorer.model={}"),
}
NUM_NEAR = 3
CUTOFF = 0.75  # least similarity of a word to the one that may be meant
CUTOFF_OF_END = 0.65  # of the last part of a key
MIN_START = 3  # characters that may be the start of a name
# Values that Hydra would read as a list or a function, or cut, without quotes of their own.
READ_AS_MORE = re.compile(
    r"(?!['\"\[{])(.*,.*\s.*|.*\s.*,.*|\s.*|.*\s|\w+\(.*\)|.*\$\{.*)", re.DOTALL
)


def with_value(template: str, value: str) -> str:
    """Return a command with a value in it, as one types it into a shell."""
    written = in_quotes(value) if READ_AS_MORE.fullmatch(value) else value
    return " ".join(
        for_shell(part.replace(VALUE, written or "...")) for part in template.split(" ")
    )


def in_quotes(value: str) -> str:
    """Return a value in Hydra's quotes."""
    quoted = value.replace("'", "\\'")
    return f"'{quoted}'"


def for_shell(word: str) -> str:
    """Return a word as one types it into a shell, with the quotes that are easiest to read."""
    if "'" in word and not re.search(r'["$`\\!]', word):
        return f'"{word}"'
    return shlex.quote(word)


def by_meaning(name: str, value: str, tops: Collection[str]) -> str:
    """Return the commands that a word of other libraries means; empty for an unknown word.

    Args:
        name: The key as typed; its last part counts.
        value: The value as typed.
        tops: Keys and groups that the program has; other commands are left out.
    """
    texts = []
    for template, which in _MEANINGS.get(_plain(name.split(".")[-1]), {}).items():
        if all(_top(part) in tops for part in template.split(" ")):
            texts.append(f"{with_value(template, value)}{f' ({which})' if which else ''}")
    return " or ".join(texts)


def no_such(kind: str, name: str, known: Collection[str], show_all: bool = False) -> str:
    """Return that `name` is not known, and which of the known it may have been."""
    near = near_names(name, known)
    texts = [f"no such {kind}"]
    if near:
        texts.append(f"did you mean {' or '.join(near)}?")
    if show_all:
        texts.append(f"there are {', '.join(sorted(known))}")
    elif not near:
        texts.append("--help lists the groups, --cfg job all keys")
    return "; ".join(texts)


def near_names(name: str, known: Collection[str]) -> list[str]:
    """Return at most three known names that a mistyped name may stand for."""
    names = {key.lower(): key for key in sorted(known)}
    near = [names[key] for key in get_close_matches(name.lower(), names, NUM_NEAR, CUTOFF)]
    if not near and len(name) >= MIN_START:  # a family without its version and size
        near = [known for key, known in names.items() if key.startswith(name.lower())]
    last = name.rpartition(".")[2]
    if not near:  # the right key without its stage, or in another one
        ends = {key: key.rpartition(".")[2] for key in names.values()}
        near = [
            key for key, end in ends.items() if get_close_matches(last, [end], cutoff=CUTOFF_OF_END)
        ]
    return near[:NUM_NEAR]


def _plain(word: str) -> str:
    return re.sub(r"[-_]", "", word).lower()


def _top(override: str) -> str:
    return re.split(r"[./=]", override.lstrip("+"))[0]


_MEANINGS = {
    _plain(word): commands for words, commands in MEANINGS.items() for word in words.split()
}
