"""Previews one after another, with models that stay loaded."""

import threading
from typing import Any

from sip.api.generation import Preview, generate, preview
from sip.api.run import Run
from sip.pipeline.models import LoadedModels, loaded_models


class Session:
    """Keeps captioner, scorer and generator loaded from one call to the next.

    A call with another model, or with settings that change what a stage makes, loads that stage's
    model in place of the one before. Calls from several threads wait for each other.

    Args:
        settings: Arguments of `sip.generate` for all calls; those of a call go first. A preview
            has a number of images of its own.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self._models = LoadedModels()
        self._lock = threading.Lock()

    def generate(self, data: Any, **settings: Any) -> Run:
        """Generate images as `sip.generate` does.

        Args:
            data: The images.
            settings: Arguments of `sip.generate`.

        Raises:
            UserError: As of `sip.generate`.
        """
        return self._kept(generate, data, self.settings | settings)

    def preview(self, image: Any, label: str, *, num: int = 1, **settings: Any) -> Preview:
        """Generate from one image as `sip.preview` does.

        Args:
            image: A file, a PIL image, or pixels in uint8.
            label: Its class in words.
            num: Images to generate.
            settings: Arguments of `sip.generate`.

        Raises:
            UserError: As of `sip.preview`.
        """
        kept = {key: value for key, value in self.settings.items() if key != "per_sample"}
        return self._kept(preview, image, kept | {"label": label, "num": num} | settings)

    def close(self) -> None:
        """Drop the models, and with them their memory; the next call loads them again."""
        with self._lock:
            self._models = LoadedModels()

    def _kept(self, call: Any, data: Any, settings: dict[str, Any]) -> Any:
        with self._lock:
            token = loaded_models.set(self._models)
            try:
                return call(data, **settings)
            finally:
                loaded_models.reset(token)
