"""The components of generation, as a configuration chooses them; building them costs little."""

from functools import cached_property
from typing import Any, Literal

from omegaconf import DictConfig

from sip.captions.base import Captioner
from sip.config.build import build
from sip.core.component import refuse
from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.filter.base import Filter
from sip.images.base import Generator
from sip.prompts.base import Prompt, PromptWriter
from sip.scores.base import Scorer
from sip.weights.missing import MissingWeightsError

ASSUMED_COSINE = 0.25  # of an image and a caption that is not there yet
CAPTION_GAP = "<caption>"
StageName = Literal["captions", "scores", "embeddings", "images"]


class Components:
    """What makes the rows of each stage; nothing heavy is imported or loaded for it.

    Args:
        config: The whole configuration; the node of each stage is built here and nowhere else.

    Attributes:
        writer: Writes the prompts.
        generator: Makes the images.
        captioner: None if the prompts do not read captions.
        scorer: None if the prompts do not read scores.
        filter: None if all images are kept.
        verdict: The filter that sends an image down the writer's ladder; None without a ladder.
    """

    def __init__(self, config: DictConfig) -> None:
        self.writer: PromptWriter = build(config.prompts)
        self.generator: Generator = build(config.images)
        self.captioner: Captioner | None = None
        self.scorer: Scorer | None = None
        if "captions" in self.writer.reads or "scores" in self.writer.reads:
            self.captioner = build(config.captions)
        if "scores" in self.writer.reads:
            self.scorer = build(config.scores)
        self._scores_node = config.scores
        chosen: Filter = build(config.filter)
        self.filter = chosen if chosen.filters else None
        backoff = self.writer.backoff
        self.verdict: Filter | None = None if backoff is None else backoff.verdict

    @cached_property
    def embedder(self) -> Scorer:
        """The scorer whose unit vectors filters and metrics read, also if prompts need none."""
        return self.scorer or build(self._scores_node)

    @property
    def facts(self) -> frozenset[str]:
        """What filter and verdict read, of {"embeddings", "control"}."""
        return frozenset().union(*(judge.reads for judge in self._judges))

    @property
    def gives_probability(self) -> bool:
        """Whether each image that is kept has a probability of its label, by filter or verdict."""
        return any(getattr(judge, "gives_probability", False) for judge in self._judges)

    @property
    def _judges(self) -> list[Filter]:
        return [judge for judge in (self.filter, self.verdict) if judge is not None]

    def of_stage(self, name: StageName) -> Any:
        """Return the component that makes the rows of a stage; the scorer makes those of two."""
        if name == "embeddings":
            return self.embedder
        stages = {"captions": self.captioner, "scores": self.scorer, "images": self.generator}
        assert stages[name] is not None
        return stages[name]

    def recipe(self) -> dict[str, Any]:
        """Return everything that decides the images generated from a given sample."""
        stages = {"captions": self.captioner, "scores": self.scorer}
        filtering: dict[str, Any] = {}
        if self.filter is not None:
            filtering["filter"] = self.filter.recipe()
        if "embeddings" in self.facts:
            filtering["embeddings"] = self.embedder.recipe()
        return {
            **{name: stage.recipe() for name, stage in stages.items() if stage is not None},
            "prompts": self.writer.recipe(),
            "images": self.generator.recipe(),
            "per_sample": self.generator.per_sample,
            **({"balance": self.generator.max_per_sample} if self.generator.balance else {}),
            **filtering,
        }

    def example(self, sample: Sample) -> str:
        """Return a sample's prompt with a gap for the caption; "" if that needs real captions."""
        try:
            prompts = self.writer.write([sample], [[CAPTION_GAP]], [[ASSUMED_COSINE]], 1)
        except (UserError, ValueError):
            return ""
        return prompts[0].text if prompts else ""

    def require(self) -> None:
        """Check before any work that the images can be generated and that all weights are there.

        Raises:
            MissingWeightsError: Weights are missing; says which, how large, how to get them.
            UserError: The images cannot be generated for another reason.
        """
        if missing := self.missing_weights():
            raise MissingWeightsError.joined(missing)
        self.check()

    def check(self) -> None:
        """Check that the generator can do the noise rates of the prompts.

        Raises:
            UserError: It cannot do one of them, or ignores it although there is a ladder.
        """
        if self.verdict is not None and not self.generator.reads_noise_rate:
            name = type(self.generator).__name__
            fix = "choose images=img2img, or prompts=label_caption"
            rule = "made from their originals, by a noise rate, for a ladder of rates"
            raise refuse("images", rule, name, fix)
        if getattr(self.writer, "mixes_classes", False):
            self._check_mixed()
        if self.generator.balance and self.writer.counts([]) is not None:
            rule = "false as prompts.file has a row for each image"
            raise refuse("images.balance", rule, True, "add or remove rows")
        self.generator.check([trial_prompt(rate) for rate in self.writer.noise_rates])

    def check_without_training(self) -> None:
        """Check that verdicts on images need no classifier: `sip.generate` trains none.

        Raises:
            ValueRefusedError: It does.
        """
        if self.verdict is not None and "control" in self.verdict.reads:
            rule = "one that needs no classifier in sip.generate"
            fix = "choose prompts/verdict=zero_shot, or run sip.train"
            raise refuse("prompts.verdict", rule, type(self.verdict).__name__, fix)

    def _check_mixed(self) -> None:
        """Check that images of another class than their original's are on the way between both.

        Raises:
            UserError: No noise rate says how far they go, or their number follows from the sizes
                of the classes.
        """
        if not self.generator.reads_noise_rate:
            name = type(self.generator).__name__
            fix = "choose images=img2img, or prompts=label"
            rule = "made from their originals, by a noise rate, to show another class"
            raise refuse("images", rule, name, fix)
        if self.generator.balance:
            rule = "false as images show other classes than their originals'"
            raise refuse("images.balance", rule, True, "choose prompts=label")

    def missing_weights(self) -> dict[str, MissingWeightsError]:
        """Return the stages whose weights are not on this disk and cannot be downloaded.

        Raises:
            UserError: Weights are there and cannot be used, or the filter does not fit.
        """
        if self.filter is not None and self.writer.counts([]) is None:
            self.filter.check(self.generator.per_sample)
        self.generator.preview()
        missing: dict[str, MissingWeightsError] = {}
        for name, stage in self.with_weights().items():
            try:
                stage.require()
            except MissingWeightsError as error:
                missing[name] = error
        return missing

    def with_weights(self) -> dict[StageName, Any]:
        """Return the components that prompts, images and filter need, by the stage's name."""
        scorer = self.embedder if "embeddings" in self.facts else self.scorer
        stages: dict[StageName, Any] = {"captions": self.captioner, "scores": scorer}
        stages["images"] = self.generator
        return {name: stage for name, stage in stages.items() if stage is not None}


def trial_prompt(noise_rate: float) -> Prompt:
    """Return an empty prompt, on which the generator can refuse the noise rate."""
    return Prompt("", "", "", 0, "", 0, (), "", 1.0, noise_rate, 0, None, None)
