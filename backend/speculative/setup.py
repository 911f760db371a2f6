"""Speculation for a model that was just loaded: what the user chose, and the pass times that are known of it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from backend.api.errors import NutshellError
from backend.api.schemas import LoadedModel, LoadModel, ModelEntry
from backend.api.speculation_schemas import PassReport
from backend.api.version import version
from backend.config.paths import paths
from backend.engine.model import Model
from backend.speculative.costs import KNOTS, Costs, measure
from backend.speculative.decoder import Speculation
from backend.speculative.draft_model import ModelDrafter
from backend.speculative.vocabulary import why_not

__all__ = ["Prepared", "prepare"]

#: as `backend.engine.worker.Loader`
Loader = Callable[[ModelEntry, LoadModel, Callable[[float], bool]], tuple[Model, LoadedModel]]
#: How curves are measured; a new number drops those that are kept.
_MEASURED = 2
_log = logging.getLogger(__name__)


class Prepared:
    """A model's speculation, its curve's place in the cache, and the measuring that is still to be done.

    Attributes:
        speculation: None where it is off, or the model cannot drop what it has read.
        notice: why the draft model cannot be used, or "".
    """

    def __init__(
        self,
        model: Model,
        speculation: Speculation | None,
        place: Path | None,
        draft: Model | None = None,
        notice: str = "",
    ) -> None:
        self.speculation = speculation
        self.notice = notice
        self._draft = draft
        self._place = place
        self._measuring: Iterator[None] | None = None
        if speculation is not None and place is not None and not _load(speculation.costs, place):
            self._measuring = measure(model, speculation.costs, speculation.controller.most_nodes)

    @property
    def draft_bytes(self) -> int:
        """Of the draft model's weights and conversation; 0: there is none."""
        return self._draft.info.weight_bytes + self._draft.info.kv_bytes if self._draft is not None else 0

    def measure_anew(self, model: Model) -> None:
        """Does not use the curve that was kept, and keeps none: the passes are made slower on purpose."""
        self._place = None
        if self.speculation is not None:
            self._measuring = measure(model, self.speculation.costs, self.speculation.controller.most_nodes)

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

    def report(self) -> PassReport:
        """What is known of the passes, and those of the last answer."""
        speculation = self.speculation
        if speculation is None:
            return PassReport()
        costs, last = speculation.costs, speculation.last
        sizes = [n for n in KNOTS if n <= speculation.controller.most_nodes] if costs.known else []
        return PassReport(
            curve=[(n, costs.seconds(n)) for n in sizes],
            passes=list(last.history),
            plain_s=costs.seconds(1),
            draft_s=last.draft_s,
            model_s=last.model_s,
        )

    def close(self) -> None:
        """Keeps the curve and frees the draft model."""
        self.save()
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.close()

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


def prepare(model: Model, entry: ModelEntry, options: LoadModel, open_draft: Loader) -> Prepared:
    """What `options.speculation` means for this model: "" and "auto", "off", or "custom" with `draft_nodes`.

    Args:
        model: just loaded.
        entry: its file.
        options: what it was loaded with. `draft_model` is a path, or "self": the same build at its lowest level.
        open_draft: loads the draft model.
    """
    if options.speculation == "off" or not model.info.max_leaves:
        return Prepared(model, None, None)
    draft, notice = _draft(model, entry, options, open_draft) if options.draft_model else (None, "")
    fixed = options.draft_nodes if options.speculation == "custom" else 0
    speculation = Speculation(model, fixed=fixed)
    if draft is not None:
        most = fixed or speculation.controller.most_nodes - 1
        speculation.drafter = ModelDrafter(draft, most, full=fixed > 0)
    return Prepared(model, speculation, _place(model, entry, speculation.controller.most_nodes), draft, notice)


def _draft(model: Model, entry: ModelEntry, options: LoadModel, open_draft: Loader) -> tuple[Model | None, str]:
    """The draft model, or why there is none. A missing draft never keeps a model from being loaded."""
    own = options.draft_model == "self"
    path = Path(entry.path if own else options.draft_model)
    chosen = ModelEntry(id="draft", name=path.stem, path=str(path), source="file", bytes=0)
    wanted = LoadModel(
        n_ctx=model.info.n_ctx,
        n_threads=model.info.n_threads,
        n_gpu_layers=options.n_gpu_layers,
        kv=options.kv,
        position=0.0 if own else None,
    )
    try:
        chosen.bytes = path.stat().st_size
        draft, _ = open_draft(chosen, wanted, lambda _done: True)
    except (OSError, NutshellError) as error:
        return None, f"{path.name} cannot draft. {error}"
    reason = "" if own else why_not(model, draft)
    if not reason:
        return draft, ""
    draft.close()
    return None, f"{path.name} cannot draft for this model. {reason}"


def _place(model: Model, entry: ModelEntry, most: int) -> Path:
    """The curve belongs to the build, the threads, the device, what comes from the disk, and the program's version."""
    info = model.info
    device = (info.n_threads, info.n_gpu_layers, info.link_bytes, os.cpu_count())
    parts = (_MEASURED, entry.path, entry.bytes, info.weight_bytes, *device, most, version(), info.streamed_bytes)
    name = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
    return paths().cache / "pass-times" / f"{name}.json"


def _load(costs: Costs, place: Path) -> bool:
    try:
        return costs.load(json.loads(place.read_text("utf-8")))
    except (OSError, ValueError):
        return False
