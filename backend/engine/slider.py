"""What the window is told of a loaded model's slider: its positions, with what each takes and gives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backend.api.schemas import ModelSlider, SliderPoint
from backend.engine.model import TokenTree
from backend.formats.pack_slider import PackSlider

if TYPE_CHECKING:
    from backend.engine.native import NativeModel

__all__ = ["Speeds", "slider_of"]

#: points of the slider that are told, besides those that were measured: one for each pixel or two of the handle's way
_POINTS = 100
#: passes that are timed; the fastest counts
_PASSES = 5
#: seconds of a layer that reads no weights: 53e-6 on two Zen 5 cores, for 576 numbers between layers
_LAYER_S = 45e-6


class Speeds:
    """Seconds of a decoded token by the bytes that it reads, measured here; more positions make the guess better.

    Args:
        layers: of the model.
    """

    def __init__(self, layers: int = 0) -> None:
        self._layers = layers
        self._seconds: dict[int, float] = {}

    def measure(self, model: NativeModel) -> None:
        """Times some passes of one token; the cache is empty afterwards."""
        tokens = model.tokenizer.encode("a", special=False)[:1] or [0]
        best = float("inf")
        for _ in range(_PASSES):
            began = time.perf_counter()
            model.forward(TokenTree.chain(tokens))
            best = min(best, time.perf_counter() - began)
            model.rewind(0)
        self._seconds[model.info.bytes_per_token] = best

    def tok_s(self, size: int) -> float:
        """Tokens a second where one reads so many bytes; 0: nothing is known.

        Between two measured sizes and beyond them on a straight line; of one alone, in proportion but for what a layer
        takes whatever its bytes.
        """
        known = sorted(self._seconds.items())
        if not known or size <= 0:
            return 0.0
        if len(known) == 1:
            beside = min(self._layers * _LAYER_S, known[0][1] / 2)
            seconds = beside + (known[0][1] - beside) * size / known[0][0]
        else:
            last = next((i for i, (bytes_, _) in enumerate(known[1:-1], 1) if size <= bytes_), len(known) - 1)
            (x0, y0), (x1, y1) = known[last - 1], known[last]
            seconds = max(y0 + (y1 - y0) * (size - x0) / (x1 - x0), min(y0, y1) / 4)
        return 1.0 / seconds if seconds > 0 else 0.0


def slider_of(model: NativeModel) -> ModelSlider | None:
    """Of a loaded model; None where it has no slider. Its speed where it stands is measured."""
    slider = model.slider
    if slider is None:
        return None
    model.speeds.measure(model)
    measured = {one.steps: one for one in slider.anchors}
    beside = model.info.bytes_per_token - slider.bytes[model.steps]
    points = []
    for steps in _chosen(slider, set(measured) | {model.steps, slider.default} | set(slider.mixtures)):
        size = slider.size(slider.ranks(steps))
        found = slider.mixtures.get(steps)
        kl = measured[steps].kl if steps in measured else slider.kl[steps]
        points.append(
            SliderPoint(
                place=slider.place(steps),
                bytes=size,
                kl=found.kl if found is not None else kl,
                tok_s=model.speeds.tok_s(size + beside),
                measured=steps in measured or found is not None,
            )
        )
    return ModelSlider(position=slider.place(model.steps), default=slider.place(slider.default), points=points)


def _chosen(slider: PackSlider, always: set[int]) -> list[int]:
    """Positions that are spread evenly over the way of the handle, and some that must be among them."""
    return sorted(always | {slider.steps(number / _POINTS) for number in range(_POINTS + 1)})
