"""Bad settings: values out of range or of another type; the message names the key.

A few of each package, through the whole job; each range: tests/core/test_component.py and the
tests of the packages.
"""

from tests.trust.cases import Case, train

# Overrides; the last one is wrong.
WRONG = [
    *("seed=-1", "seed=abc", "dataset.shots=many", "dataset.shots=100000"),
    *("dataset.shots=null dataset.imbalance=0.5", "dataset.label_noise=.nan"),
    *("dataset.fraction=0.5", "dataset.image_size=100000", "prompts.noise_rate=0"),
    *("prompts.template='{colour}{label}'", "+prompts.noise=1", "prompts.label_weight=heavy"),
    *("images.num_steps=2.5", "images.size=33", "images.scheduler=magic", "images.format=bmp"),
    *("images.storage=floppy", "images.guidance_interval=[1,0]", "images.per_sample=0"),
    *("images.lora={model:x}", "captions.top_p=0", "retry=all"),
    *("runtime.batch_size.images=-1", "runtime.device=tpu", "runtime.device=cuda:99"),
    *("trainer.strategy=horovod", "classifier.lr=-1", "classifier.steps=7"),
    *("classifier.precision=8", "classifier.optimizer=adamm", "backbone.name=resnet5O"),
    *("backbone.stem=7x7", "backbone=vit backbone.input_size=33", "mixing.p=2"),
    *("filter=similarity filter.keep=2", "train.objectives=[test/top1]"),
    "prompts/guidance=constant prompts.guidance.scale=.nan",
]
NEAR = {  # what the message names also the key
    "+prompts.noise=1": "unknown noise; it takes: ",
    "classifier.optimizer=adamm": "near names: .*adam",
    "backbone.name=resnet5O": "near names: .*resnet50",
    "train.objectives=[test/top1]": "nothing is chosen on test",
}


def _key(overrides: str) -> str:
    return overrides.split()[-1].partition("=")[0].rpartition(".")[2]


CASES = [
    Case("settings", text, train(*text.split()), NEAR.get(text, rf"\b{_key(text)}\b"))
    for text in WRONG
]
