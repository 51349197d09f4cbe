"""Prompts from a stated list, such as styles that do not name the class."""

from collections.abc import Sequence

from sip.core.errors import UserError
from sip.dataset.base import Sample
from sip.prompts.guidance.base import GuidanceRule
from sip.prompts.varied import Choice, Varied, checked_template
from sip.prompts.weighting.base import Weighting


class Listed(Varied):
    """One of a list of templates for each picture.

    Args:
        templates: Texts, each with `{label}` or without.
        negative_prompt, noise_rate, seed, guidance, weighting: As in `Varied`.

    Raises:
        UserError: The list is empty, or a template has an unknown field.
    """

    def __init__(
        self,
        templates: Sequence[str],
        negative_prompt: str,
        noise_rate: float,
        seed: int,
        guidance: GuidanceRule,
        weighting: Weighting,
    ) -> None:
        super().__init__(negative_prompt, noise_rate, seed, guidance, weighting)
        if isinstance(templates, str) or not templates:
            raise UserError(f"prompts.templates: expected a list of texts, came {templates!r}")
        self.templates = [checked_template("templates", text, ("label",)) for text in templates]

    def recipe(self) -> dict:
        """Return everything that decides the drawing list."""
        return {**super().recipe(), "templates": self.templates}

    def choices(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Choice]:
        """Return the templates."""
        return [(template, {}) for template in self.templates]
