"""The loaded models of the stages, and the batches that each of them takes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from itertools import chain
from typing import Any

from sip.core.hashing import digest
from sip.device.batches import reader
from sip.device.settings import Devices, Runtime
from sip.pipeline.components import Components, StageName
from sip.store.filling import Add, Make

PARTS_EACH = 2  # of a batch for each thread that encodes: to hand over row by row takes longer


class LoadedModels:
    """The models of the stages that stay loaded from one job of a program to the next.

    One model a stage: one with another recipe, or on another device, takes its place.
    """

    def __init__(self) -> None:
        self._modules: dict[StageName, tuple[str, Any]] = {}

    def module(self, name: StageName, key: str, load: Callable[[], Any]) -> Any:
        """Return the model of a stage; it is loaded if the one that is there has another key."""
        if name not in self._modules or self._modules[name][0] != key:
            self._modules.pop(name, None)  # its memory is for the next one
            self._modules[name] = key, load()
        return self._modules[name][1]


# What a session keeps in the jobs of its thread; None: each job loads its own models.
loaded_models: ContextVar[LoadedModels | None] = ContextVar("loaded_models", default=None)


class Models:
    """Loads the model of a stage when it is first needed, and drops it on request.

    Args:
        components: What loads them.
        runtime: Device settings of this process.
        devices: Devices of the whole job.
    """

    def __init__(self, components: Components, runtime: Runtime, devices: Devices) -> None:
        self.components = components
        self.runtime = runtime
        self.devices = devices
        self._modules: dict[StageName, Any] = {}

    def module(self, name: StageName) -> Any:
        """Return the LightningModule of a stage, on the device."""
        if name not in self._modules:
            loaded = loaded_models.get()
            if loaded is None:
                self._modules[name] = self._load(name)
            else:
                key = digest(self.components.of_stage(name).recipe(), repr(self.runtime))
                self._modules[name] = loaded.module(name, key, lambda: self._load(name))
        return self._modules[name]

    def _load(self, name: StageName) -> Any:
        module = self.components.of_stage(name).load(self.runtime)
        if name == "embeddings":
            from sip.scores.module import EmbeddingModule

            module = EmbeddingModule(module)
        return module

    def drop(self, name: StageName) -> None:
        """Drop a model, and with it the memory of its weights; does nothing if none is loaded.

        A session (`loaded_models`) keeps it.
        """
        self._modules.pop(name, None)

    def image_reader(self, name: StageName) -> Callable[[Sequence[Any]], Any]:
        """Return what reads a batch of captions, scores or embeddings."""
        image_of = _sample_of if name == "scores" else _itself
        return reader(image_of, self.module(name).prepare)

    def maker(
        self,
        name: StageName,
        read: Callable[[Any], Any] | None = None,
        to_dict: Callable[[Any], dict[str, Any]] = lambda row: row.to_dict(),
    ) -> Make[Any]:
        """Return what makes the rows of a stage.

        Args:
            name: Name of the stage.
            read: Reads a batch of inputs; None for those of `image_reader`.
            to_dict: Returns a row as the store keeps it; called in background threads.
        """

        def make(batches: Iterator[list[Any]], add: Add) -> None:
            self.predict(name, batches, read or self.image_reader(name), to_dict, add)

        return make

    def predict(
        self,
        name: StageName,
        batches: Iterator[Any],
        read: Callable[[Any], Any],
        finish: Callable[[Any], Any],
        take: Callable[[Any], None],
    ) -> None:
        """Run `Trainer.predict` with the model of a stage.

        Args:
            name: Name of the stage.
            batches: Inputs of one batch each.
            read: Returns the batch that the model takes.
            finish: Is called with each row, in background threads.
            take: Is called with the result, in order, in one thread.
        """
        from sip.device.predict import predict

        num_parts = PARTS_EACH * self.runtime.num_workers

        def finish_all(rows: list[Any]) -> list[Any]:
            return [*map(finish, rows)]

        with ThreadPoolExecutor(self.runtime.num_workers, "encode") as pool:

            def write(rows: list[Any]) -> None:
                size = -(-len(rows) // num_parts)
                parts = [rows[start : start + size] for start in range(0, len(rows), size)]
                for row in chain.from_iterable(pool.map(finish_all, parts)):
                    take(row)

            predict(self.module(name), batches, read, write, self.runtime, self.devices)


def _itself(item: Any) -> Any:
    return item


def _sample_of(item: Any) -> Any:
    return item.sample
