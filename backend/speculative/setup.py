"""Speculation for a model that was just loaded: what the user chose, and the pass times that are known of it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from backend.api.schemas import LoadModel, ModelEntry
from backend.api.version import version
from backend.config.paths import paths
from backend.engine.model import Model
from backend.speculative.costs import Costs, measure
from backend.speculative.decoder import MOST_NODES, Drafter, Speculation

__all__ = ["Prepared", "prepare"]

_log = logging.getLogger(__name__)


class Prepared:
    """A model's speculation, its curve's place in the cache, and the measuring that is still to be done.

    Attributes:
        speculation: None where it is off, or the model cannot drop what it has read.
    """

    def __init__(self, model: Model, speculation: Speculation | None, place: Path | None) -> None:
        self.speculation = speculation
        self._place = place
        self._measuring: Iterator[None] | None = None
        if speculation is not None and place is not None and not _load(speculation.costs, place):
            self._measuring = measure(model, speculation.costs, min(MOST_NODES, model.info.n_batch))

    def measure(self) -> bool:
        """One pass of the measuring, when the engine has nothing else to do; False: there is nothing to measure."""
        if self._measuring is None:
            return False
        try:
            next(self._measuring)
        except StopIteration:
            self._measuring = None
            self.save()
        except Exception:  # noqa: BLE001 - a curve is a convenience; without it the first guess is used
            _log.exception("measuring the passes failed")
            self._measuring = None
        return self._measuring is not None

    def save(self) -> None:
        """Writes the curve, if it is known; what cannot be written is measured again next time."""
        if self.speculation is None or self._place is None or not self.speculation.costs.known:
            return
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            part = self._place.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps(self.speculation.costs.as_json()), "utf-8")
            part.replace(self._place)
        except OSError as error:
            _log.info("the pass times were not kept: %s", error)


def prepare(model: Model, entry: ModelEntry, options: LoadModel, drafter: Drafter | None = None) -> Prepared:
    """What `options.speculation` means for this model: "" and "auto", "off", or "custom" with `draft_nodes`."""
    if options.speculation == "off" or not model.info.max_leaves:
        return Prepared(model, None, None)
    fixed = options.draft_nodes if options.speculation == "custom" else 0
    return Prepared(model, Speculation(model, fixed=fixed, drafter=drafter), _place(model, entry))


def _place(model: Model, entry: ModelEntry) -> Path:
    """The curve belongs to the build, the threads, the device and the version of the program."""
    info = model.info
    parts = (entry.path, entry.bytes, info.weight_bytes, info.n_threads, info.n_gpu_layers, version(), os.cpu_count())
    name = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
    return paths().cache / "pass-times" / f"{name}.json"


def _load(costs: Costs, place: Path) -> bool:
    try:
        return costs.load(json.loads(place.read_text("utf-8")))
    except (OSError, ValueError):
        return False
