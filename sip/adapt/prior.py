"""The images of each class that a model generates before it is adapted, and must not forget."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sip.adapt.data import Learnt
from sip.adapt.method import DreamboothLora
from sip.core.errors import UserError
from sip.core.hashing import digest, seed_of
from sip.core.stages import StageLog
from sip.images.txt2img import Txt2Img
from sip.pipeline.offline import Offline
from sip.prompts.base import Prompt, Span

TXT2IMG = f"{Txt2Img.__module__}.{Txt2Img.__qualname__}"


class Prior:
    """The class images of a training, generated from noise as `sip.generate` does it.

    Args:
        config: The whole configuration.
        method: Texts and numbers.
        class_names: Classes that are learnt.
    """

    def __init__(
        self, config: DictConfig, method: DreamboothLora, class_names: Sequence[str]
    ) -> None:
        known = {item.name for item in fields(Txt2Img)}
        node: Any = OmegaConf.to_container(config.images, resolve=True)
        plain = {"_target_": TXT2IMG} | {k: v for k, v in node.items() if k in known}
        changed = config.copy()
        changed.images = plain
        self.offline = Offline(changed)
        self.prompts = [
            self._prompt(method, name, label, number, config.seed)
            for label, name in enumerate(class_names)
            for number in range(method.num_prior)
        ]

    def rows(self) -> list[Learnt]:
        """Return the class images as they are learnt; their files are there once they are made."""
        stage = self.offline.stage("images")
        made = stage.read([prompt.image_id for prompt in self.prompts])
        return [
            Learnt(
                path=(made.get(prompt.image_id) or {}).get("file") or "",
                sha256=f"{stage.fingerprint}/{prompt.image_id}",
                class_name=prompt.class_name,
                texts=(prompt.spans,),
                is_prior=True,
            )
            for prompt in self.prompts
        ]

    def missing(self) -> list[Prompt]:
        """Return those that are not generated yet."""
        missing = set(self.offline.stage("images").missing(p.image_id for p in self.prompts))
        return [prompt for prompt in self.prompts if prompt.image_id in missing]

    def evaluations(self) -> int:
        """Return the U-Net evaluations that the missing ones take."""
        return sum(map(self.offline.generator.num_evaluations, self.missing()))

    def make(self, stages: StageLog) -> list[Learnt]:
        """Generate the missing ones; return all.

        Raises:
            UserError: One failed.
        """
        self.offline.generate(self.prompts, stages)
        rows = self.rows()
        if failed := [row for row in rows if not row.path]:
            raise UserError(
                f"adapt: {len(failed)} of {len(rows)} class images failed, the first of class "
                f"{failed[0].class_name}; try another seed or prior_guidance"
            )
        return rows

    @staticmethod
    def _prompt(method: DreamboothLora, name: str, label: int, number: int, seed: int) -> Prompt:
        return Prompt(
            sample_id=f"prior/{name}/{number}",
            source="",
            source_sha256=digest("prior", name, number),
            label=label,
            class_name=name,
            variant=number,
            spans=(Span(method.prior_text(name), 1.0),),
            negative_prompt="",
            guidance_scale=method.prior_guidance,
            noise_rate=1.0,
            seed=seed_of(seed, "prior", name, number),
            caption=None,
            similarity=None,
        )
