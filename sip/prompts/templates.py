"""Prompts from a list of templates, such as styles that do not name the class."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from sip.core.component import component
from sip.core.templates import cut
from sip.dataset.base import Sample
from sip.prompts.varied import Choice, Varied


@component
class Templates(Varied):
    """One of a list of templates for each image.

    Args:
        templates: Texts, each with `{label}` or without.
    """

    templates: Annotated[list[str], Field(min_length=1)]

    def __post_init__(self) -> None:
        """Refuse a template with another field."""
        super().__post_init__()
        for template in self.templates:
            cut("templates", template, ("label",))

    def prepare(
        self, samples: Sequence[Sample], captions: Sequence[Sequence[str]] | None
    ) -> Sequence[Choice]:
        """Return the templates."""
        return [(template, {}) for template in self.templates]
