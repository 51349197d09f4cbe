"""The floor of generation: the forwards that a list of prompts cannot do without.

Same models, dtype, memory layout, compilation and batch shapes as the engine's; all inputs lie on
the device. No scheduler, no texts, no noise, no files: all time above it is overhead.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from sip.core.shapes import Size
from sip.images.acceleration import attention
from sip.images.engine import Engine
from sip.prompts.base import Prompt


class Call(NamedTuple):
    """A forward of one model.

    Attributes:
        part: "encode", "denoise" or "decode".
        rows: Rows of its batch; with guidance, both halves of the images.
        size: Width and height of the images.
        step: Which of the schedule; 0 for the autoencoder.
    """

    part: str
    rows: int
    size: Size
    step: int = 0


class Floor:
    """The forwards of a list of prompts.

    Args:
        engine: Loaded. If it compiles, it must have generated the list, so that it knows the shapes
            that short batches are filled up to.
        batches: Batches as the engine generates them.
    """

    def __init__(self, engine: Engine, batches: Sequence[Sequence[Prompt]]) -> None:
        self.engine = engine
        self.attention = engine.runtime.attention
        self.calls = calls_of(engine, batches)
        with torch.inference_mode():
            inputs = {
                call: self._inputs(call, batches[0][0])
                for call in dict.fromkeys(call._replace(step=0) for call in self.calls)
            }
            schedules = {
                call.size: engine.settings.schedule(call.size).timesteps.to(engine.device).unbind()
                for call in self.calls
            }
        self._forwards = {
            call: self._forward(call, inputs[call._replace(step=0)], schedules[call.size])
            for call in dict.fromkeys(self.calls)
        }

    @property
    def evaluations(self) -> int:
        """Rows that the denoiser sees."""
        return sum(call.rows for call in self.calls if call.part == "denoise")

    def run(self) -> None:
        """Run all forwards, one after the other; a GPU may still be at work afterwards."""
        forwards = [self._forwards[call] for call in self.calls]
        with torch.inference_mode(), attention(self.attention):
            for forward in forwards:
                forward()

    def flops(self) -> int:
        """Return the floating-point operations of one run, and run each shape once.

        Source: torch's own counter, which counts products (matrices, convolutions, attention), a
        multiplication and an addition as two.
        """
        total = 0
        for call, times in Counter(call._replace(step=0) for call in self.calls).items():
            forward = next(f for c, f in self._forwards.items() if c._replace(step=0) == call)
            counter = FlopCounterMode(display=False)
            # Eager: the counter does not see into compiled code.
            with torch.no_grad(), torch.compiler.set_stance("force_eager"), counter:
                forward()
            total += times * counter.get_total_flops()
        return total

    def _inputs(self, call: Call, prompt: Prompt) -> tuple[Any, ...]:
        """Return tensors on the device as the models take them."""
        family = self.engine.models
        if call.part == "encode":
            shape: tuple[int, ...] = (3, call.size.height, call.size.width)
        else:
            shape = family.shape_of_latents(call.size)
        dtype = family.denoiser.dtype if call.part == "denoise" else family.vae.dtype
        batch = torch.randn(call.rows, *shape).to(self.engine.device, dtype)
        if call.part != "denoise":
            return (family.framed(batch),)
        texts = self.engine.texts.positive([prompt]).repeat(call.rows, 1)
        scales = torch.full((call.rows,), 2.0, device=self.engine.device)
        return batch, family.conditioning(texts, scales, call.size)

    def _forward(
        self, call: Call, inputs: tuple[Any, ...], steps: Sequence[torch.Tensor]
    ) -> Callable[[], Any]:
        family = self.engine.models
        if call.part == "encode":
            return partial(family.vae.encode, *inputs)
        if call.part == "decode":
            return partial(family.vae.decode, *inputs, return_dict=False)
        batch, conditioning = inputs
        return partial(family.predict, batch, steps[call.step], conditioning)


def calls_of(engine: Engine, batches: Sequence[Sequence[Prompt]]) -> list[Call]:
    """Return the forwards that generating these batches takes; each original is encoded once."""
    settings = engine.settings
    full = max(map(len, batches)) if engine.runtime.compile else 0  # short batches are filled up
    calls: list[Call] = []
    seen: set[str] = set()
    for rows in batches:
        new = {row.source_sha256 for row in rows} - seen
        seen |= new
        size = Size.of(settings.size_of(rows[0]))
        if new and settings.reads_source:
            calls += [Call("encode", 1, size)] * len(new)
        num = max(full, len(rows))
        steps = enumerate(settings.guided_steps(rows[0]), settings.first_step(rows[0]))
        calls += [Call("denoise", num * (1 + guided), size, step) for step, guided in steps]
        calls.append(Call("decode", num, size))
    return calls
