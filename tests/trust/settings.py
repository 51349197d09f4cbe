"""Bad settings: values out of range or of another type, and what is not to be trusted."""

from pathlib import Path

from tests.trust.cases import Case, line, train

RANGES = [
    (("seed=-1",), "seed: expected a whole number >= 0, came -1"),
    (("seed=abc",), "seed: expected a whole number >= 0, came 'abc'"),
    (("dataset.shots=0",), "dataset.shots: expected a number >= 1 or null, came 0"),
    (("dataset.shots=many",), "dataset.shots: expected a number >= 1"),
    (("dataset.shots=100000",), "dataset.shots: expected at most 26"),
    (("dataset.shots=null", "dataset.fraction=2"), "dataset.fraction: expected a number above 0"),
    (("dataset.shots=null", "dataset.imbalance=0.5"), "dataset.imbalance: expected a number >= 1"),
    (("dataset.label_noise=.nan",), "dataset.label_noise: expected a number from 0 to 1"),
    (("dataset.fraction=0.5",), "both say how many pictures a class keeps"),
    (("dataset.image_size=0",), "dataset.image_size: expected a number of px from 1"),
    (("dataset.image_size=100000",), "dataset.image_size: expected a number of px from 1"),
    (("prompts.noise_rate=0",), r"prompts.noise_rate: must be in \(0, 1\], got 0"),
    (("prompts.noise_rate=much",), "prompts.noise_rate: must be .* got 'much'"),
    (
        ("prompts.template='a {colour} {label}'",),
        "prompts.template: must be a template with no field",
    ),
    (("prompts.template='a {label'",), "prompts.template: .*expected '}'"),
    (("prompts.noise=1",), "LabelCaption: unknown noise; it takes: template"),
    (("prompts.label_weight=heavy",), "prompts.label_weight: must be a finite number, got 'heavy'"),
    (("images.num_steps=0",), "images.num_steps: must be a whole number >= 1, got 0"),
    (("images.num_steps=2.5",), "images.num_steps: must be a whole number >= 1, got 2.5"),
    (("images.size=33",), "images.size: must be a multiple of"),
    (("images.scheduler=magic",), "images.scheduler: must be one of ddim, euler"),
    (("images.format=bmp",), "images.format: must be one of png, jpeg, webp, got 'bmp'"),
    (("images.storage=floppy",), "images.storage: must be one of files, webdataset"),
    (("images.guidance_interval=[1, 0]",), "images.guidance_interval: must be .low, high."),
    (("images.dtype=int8",), "images.dtype: must be one of float32"),
    (("images.max_failed=150",), r"images.max_failed: must be in \[0, 1\], got 150"),
    (("images.per_sample=0",), "images.per_sample: must be a whole number >= 1"),
    (("images.lora={model: x}",), "images.lora: must be null or a mapping of model, revision"),
    (("captions.sampling=greedy",), "captions.sampling: expected one of"),
    (("captions.top_p=0",), r"captions.top_p: expected a number in \(0, 1\], came 0"),
    (("runtime.batch_size.images=-1",), "images: expected a number >= 1 or auto, came -1"),
    (("runtime.shard_size=0",), "runtime.shard_size: expected a number >= 1, came 0"),
    (("runtime.device=tpu",), "runtime.device: expected auto, cpu, cuda|sees no"),
    (("runtime.device=cuda:99",), "runtime.device|sees no GPU"),
    (("runtime.num_workers=0",), "runtime.num_workers: expected 1 or more, came 0"),
    (("trainer.devices=0",), "trainer.devices: expected a number >= 1 or auto, came 0"),
    (("trainer.strategy=horovod",), "trainer.strategy: expected one of auto, ddp"),
    (("retry=all",), "retry: expected null, failed or damaged, came 'all'"),
    (("classifier.lr=-1",), "classifier.lr: expected a number above 0, got -1"),
    (("classifier.batch_size=0",), "classifier.batch_size: expected a number"),
    (("classifier.steps=7",), "classifier.steps: expected a multiple of classifier.val_every"),
    (
        ("classifier.label_smoothing=2",),
        "label_smoothing: expected a number from 0 to 1",
    ),
    (("classifier.precision=8",), "classifier.precision: expected one of"),
    (("classifier.optimizer=adamm",), "classifier.optimizer: expected .*near names: .*adam"),
    (("backbone.name=resnet5O",), "has no model 'resnet5O'; near names: .*resnet50"),
    (("backbone.stem=7x7",), "backbone.stem: expected null or one of"),
    (("backbone=vit", "backbone.input_size=33"), "backbone.input_size: expected a multiple"),
    (("mixing.p=2",), r"mixing.p: expected a probability in \[0, 1\], came 2"),
    (("filter=similarity", "filter.keep=2"), "filter.keep: must be in"),
    (("prompts/guidance=constant", "prompts.guidance.scale=x"), "guidance.scale: must be a finite"),
    (("prompts/guidance=constant", "prompts.guidance.scale=.nan"), "guidance.scale: must be a fin"),
    (("train.objectives=[test/top1]",), "came test/top1; nothing is chosen on test"),
]
TRUST = [
    (
        "images._target_=os.system",
        "images._target_=os.system: .*nothing was called",
    ),
    ("dataset._target_=builtins.eval", "nothing was called"),
    ("prompts.guidance={_target_: subprocess.Popen, args: [true]}", "nothing was called"),
    ("prompts.guidance={_target_: sip.config.cli.os.system, command: true}", "nothing was called"),
    ("prompts.guidance={_target_: sip.core.files.write_atomically}", "nothing was called"),
    ("mixing.extra=[{_target_: hydra.utils.get_method, path: os.system}]", "nothing was called"),
    ("images.weighting={_partial_: true, _target_: functools.partial}", "nothing was called"),
    ("dataset.root='\\${oc.env:HOME}'", "cannot stand in a value"),
    ("logger.entity=hf_0123456789012345678901234567890123", "logger.entity: a token stands there"),
    ("logger.api_key=0123456789", "logger.api_key: a secret, by its name,"),
]
LINES = [
    ("prompts.noise_rat=0.3", "no such key; did you mean prompts.noise_rate"),
    ("dataset=image_foldr", "no such choice; did you mean image_folder"),
    ("+exp=resnet50_spi", "no such choice; did you mean resnet50_sip"),
    ("+experiment_name=x", "no such group or key"),
    ("images=sd1.5", "no such choice"),
    ("seed", "should be key=value"),
    ("seed=1=2", "should be key=value|mismatched|no viable"),
    ("prompts.template={label", "should be key=value"),
    ("dataset.shots=[1", "should be key=value"),
    ("prompts.weighting.strength=2", "no such key"),
    ("dataset={}", "handled"),
    ("~prompts=label", "Could not delete|no such|does not match"),
    ("hydra.callbacks.overview._target_=os.system", "hydra.callbacks.*nothing was called"),
]
FILES = [  # YAML of a folder that --config-dir names
    ("a: [", "x.yaml: expected a configuration"),
    ("a: !!python/object/apply:os.system [true]", "x.yaml: expected a configuration"),
    ("\n".join([f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9 if n else 'xxxxxxxxx')}]"
                for n in range(14)]), "aliases stand for more than"),
    ("# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}", "nothing was called"),
    ("# @package _global_\nimages: {_target_: os.system}", "nothing was called"),

    ("# @package _global_\ndefaults: [nothing_of_the_kind]", "nothing_of_the_kind"),
    ("- a list", "x.yaml: expected a configuration .a list"),
    ("\x00\x01", "x.yaml: expected a configuration"),
]  # fmt: skip


def _write(text: str, folder: Path) -> None:
    (folder / "exp").mkdir()
    (folder / "exp" / "x.yaml").write_text(text)


def _title(text: str) -> str:
    return text if len(text) < 70 else f"{text[:66]} ..."


CASES = [
    *(Case("configuration", " ".join(given), train(*given), words) for given, words in RANGES),
    *(Case("configuration", one, train(one, guarded=True), words) for one, words in TRUST),
    *(Case("command line", given, line(given), words) for given, words in LINES),
    *(
        Case(
            "command line",
            f"--config-dir with exp/x.yaml: {_title(text)!r}",
            line("--config-dir=FOLDER", "+exp=x", make=lambda folder, t=text: _write(t, folder)),
            words,
        )
        for text, words in FILES
    ),
]
