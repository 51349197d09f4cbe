"""A baseline on our engine: Diff-Mix, whose images are on their way from one class to another.

Source: Wang et al., Enhance Image Classification via Inter-Class Image Mixup with Diffusion Model,
CVPR 2024, arXiv 2403.19600, with the code at github.com/Zhicaiwww/Diff-Mix (MIT). An image of
class i is translated towards class j by image to image with strength s, and its label becomes

    (1 - s ** gamma) y_i + s ** gamma y_j,  gamma = 0.5

There, Stable Diffusion 1.5 is adapted to the classes by DreamBooth's LoRA and textual inversion;
prompt "a photo of a {token} {kind}", guidance 7.5, 25 steps of DPM-Solver, five images for each
real one, strength fixed or one of 0.3, 0.5, 0.7 and 0.9; while training, an image is replaced by
any generated one with a probability (the code: 0.1). CLIP's least sure tenth is left out, by
"a photo with a {kind} on it" against "a photo without".

What we changed:
- the generator is the configured one, which knows the classes by their names only, unless
  `images.lora` names a run of `sip.adapt`.
- the target is another class always; there, source and target are independent, so that one image
  in as many as there are classes keeps its class. Each original has equally many images.
- the rates are stated (`rates`), one for each image by seed.
- the least sure tenth is that of each target class, by the cosine with the target's prompt
  (`filter=diff_mix_like`): a data set has no word for what all of its classes are.
- generated images join the real ones (`mixing.mode=concat`) unless `mixing.mode=replace` is set,
  which takes one of the original's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from sip.core.component import component, refuse
from sip.core.ranges import NotNegative
from sip.core.spill import Spilled
from sip.dataset.base import Sample
from sip.prompts.base import Prompt
from sip.prompts.several_rates import SeveralRates
from sip.prompts.targets import BalancedTargets, TargetChoice, UniformTargets
from sip.prompts.writer import Spans


@component
class DiffMixLike(SeveralRates):
    """Fills the template with another class than the original's, and mixes their labels.

    Args:
        targets: "uniform" or "balanced": how the other class is chosen (`sip.prompts.targets`).
        gamma: The other class has the share noise rate ** gamma of the label; 0: all of it.
    """

    targets: Literal["uniform", "balanced"]
    gamma: NotNegative

    @property
    def mixes_classes(self) -> bool:
        """Images are to show another class than their original's."""
        return True

    @cached_property
    def _of_run(self) -> dict[int, str]:
        """The classes of the run, by label, once `check` knows them."""
        return {}

    def check(self, samples: Sequence[Sample]) -> None:
        """Note the classes; `write` may be asked for a part of the originals.

        Raises:
            ValueRefusedError: There is one class only.
        """
        classes = classes_of(samples)
        if samples and len(classes) < 2:
            name = next(iter(classes.values()))
            rule = "images of two classes at least for prompts=diff_mix_like"
            raise refuse("dataset", rule, f"only {name}", "choose prompts=label")
        self._of_run.clear()
        self._of_run.update(classes)

    def prepare(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[tuple[TargetChoice, Mapping[int, str]]]:
        """Return what chooses the targets, and the classes."""
        classes = self._of_run or classes_of(samples)
        if self.targets == "uniform":
            return [(UniformTargets(list(classes), self.seed), classes)]
        return [(BalancedTargets(list(classes), self.seed, samples), classes)]

    def spans(
        self, sample: Sample, captions: Sequence[str | None], prepared: Sequence[Any]
    ) -> list[Spans]:
        """Return the prompts, each with the name of its target."""
        ((targets, classes),) = prepared
        labels = targets.of(sample, len(captions))
        named = [replace(sample, class_name=classes[label]) for label in labels]
        return [self._filled(one, text) for one, text in zip(named, captions, strict=True)]

    def write(
        self,
        samples: Sequence[Sample],
        captions: Sequence[Sequence[str]] | None,
        similarities: Sequence[Sequence[float]] | None,
        per_sample: int,
    ) -> Sequence[Prompt]:
        """Return `per_sample` prompts a sample, each with its target; raises as `Writer.write`."""
        prompts = super().write(samples, captions, similarities, per_sample)
        if not prompts:
            return []
        ((targets, classes),) = self.prepare(samples, captions)
        labels = [label for sample in samples for label in targets.of(sample, per_sample)]
        return Spilled(
            prompt.towards(label, classes[label], prompt.noise_rate**self.gamma)
            for prompt, label in zip(prompts, labels, strict=True)
        )


def classes_of(samples: Sequence[Sample]) -> dict[int, str]:
    """Return the classes of originals, label -> name."""
    return {sample.label: sample.class_name for sample in samples}
