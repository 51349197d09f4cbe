"""As much of Ray's interface as the driver uses, in this process; actors are lost on request."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """Something of Ray's own is lost."""


class RayTaskError(RayError):
    """What an actor's work raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(eq=False)
class FakeActor:
    """Does its work when its result is waited for."""

    ray: "FakeRay"
    inner: Any
    is_alive: bool = True

    def __getattr__(self, name: str) -> Any:
        """Return a method as Ray has it."""
        return SimpleNamespace(remote=lambda *args: Ref(self, name, args))


@dataclass(eq=False)
class Ref:
    """A result to be."""

    actor: FakeActor
    name: str
    args: tuple[Any, ...]
    value: Any = None
    error: Exception | None = None


@dataclass
class FakeRay:
    """The module.

    Args:
        capacity: Actors that live at the same time; more of them never start.
        rank: Of several pieces of work, one with the lowest rank is done first.
        lose: Is asked before each piece of work whether its actor is lost at it.
    """

    capacity: int = 100
    lose: Callable[[Ref], bool] = lambda ref: False
    rank: Callable[[Ref], int] = lambda ref: 0
    seed: int = 0
    alive: list[FakeActor] = field(default_factory=list)
    started: list[dict[str, Any]] = field(default_factory=list)
    most: int = 0

    def __post_init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.random = random.Random(self.seed)

    def remote(self, kind: Any) -> Any:
        """Return what makes actors of a class."""

        def options(**values: Any) -> Any:
            def start(*args: Any) -> FakeActor:
                self.started.append(values)
                actor = FakeActor(self, kind(*args))
                self.alive.append(actor)
                return actor

            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def kill(self, actor: FakeActor) -> None:
        """End an actor."""
        actor.is_alive = False
        if actor in self.alive:
            self.alive.remove(actor)

    def wait(self, refs: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], Any]:
        """Do one of the pieces of work, any one."""
        can = [ref for ref in refs if ref.actor in self.alive[: self.capacity]]
        can += [ref for ref in refs if not ref.actor.is_alive]
        if not can:
            return [], refs
        self.most = max(self.most, len({ref.actor for ref in refs if ref.name == "make"}))
        least = min(map(self.rank, can))
        ref = self.random.choice([ref for ref in can if self.rank(ref) == least])
        if not ref.actor.is_alive or self.lose(ref):
            self.kill(ref.actor)
            ref.error = RayError("The actor died unexpectedly")
            return [ref], None
        try:
            ref.value = getattr(ref.actor.inner, ref.name)(*ref.args)
        except Exception as error:
            ref.error = RayTaskError(error)
        return [ref], None

    def get(self, ref: Ref) -> Any:
        """Return a result."""
        if ref.error:
            raise ref.error
        return ref.value

    def available_resources(self) -> dict[str, float]:
        """Return what is free."""
        return {"CPU": 0.0}
