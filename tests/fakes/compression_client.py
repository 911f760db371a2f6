"""The part of `FakeClient` that makes models smaller: plans, compressions that a test moves by hand, answers."""

from __future__ import annotations

import time
from copy import deepcopy
from itertools import count

from backend.api.compression import (
    Answer,
    ComparePrompts,
    Compression,
    CompressionOptions,
    CompressionPlan,
    CompressionResult,
    CompressionSource,
    CompressionStatus,
    ExportBuild,
    Measured,
    NewCompression,
    PlanCompression,
    Position,
)
from backend.api.errors import ConflictError, NotFoundError
from backend.api.schemas import (
    AnyEvent,
    CompressionProgress,
    ErrorInfo,
    Job,
    JobChanged,
    LayerError,
    ModelEntry,
)

GB = 1_000_000_000
_ids = count(1)

#: level, GB, memory GB, work GB, seconds, tok/s, loss, verdict, limit
_POSITIONS = (
    ("aqlm-2x8", 0.59, 0.87, 5.1, 1620, 41.0, (0.25, 0.6), "fits", ""),
    ("aqlm-3x8", 0.78, 1.06, 5.2, 2100, 28.0, (0.07, 0.18), "fits", ""),
    ("spqr-3", 0.92, 1.2, 5.2, 960, 21.0, (0.03, 0.06), "fits", ""),
    ("spqr-4", 1.13, 1.41, 5.3, 960, 17.0, (0.005, 0.015), "fits", ""),
    ("q8", 1.89, 2.17, 4.4, 240, 12.0, (0.0, 0.003), "fits", ""),
)
_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def fake_positions(scale: float = 1.0) -> list[Position]:
    """Of a model of 1.5B, or `scale` times that on the same machine: 16 GB, of which 9.3 are free."""
    made = []
    for level, size, memory, work, seconds, tok_s, (low, high), _, _ in _POSITIONS:
        position = Position(
            level=level, bytes=int(size * scale * GB), bits=size * 8 / 1.54, memory=int(memory * scale * GB),
            work_memory=int(work * GB), disk=int(size * scale * 2.4 * GB), seconds=seconds * scale,
            tok_s=tok_s / scale, loss_low=low, loss_high=high,
        )  # fmt: skip
        if position.memory > 13.6 * GB:
            position.verdict, position.limit = "no", "run_memory"
            position.needed, position.there = position.memory, int(13.6 * GB)
        elif position.memory > 9.3 * GB:
            position.verdict, position.limit = "if", "run_memory"
            position.needed, position.there = position.memory, int(9.3 * GB)
        made.append(position)
    return made


def fake_compression(
    name: str = "Qwen2.5-Coder-1.5B-Instruct aqlm-2x8", *, state: str = "running", done: float = 0.0
) -> Compression:
    """A record as the engine would read it."""
    return Compression(
        id=f"{next(_ids):032x}", name=name, out=f"builds/{name}.nutshell",
        source_name="Qwen2.5-Coder-1.5B-Instruct", source_path="hub/qwen2.5-coder-1.5b.gguf",
        source_bytes=3_090_000_000, levels=["aqlm-2x8"], options=CompressionOptions(), created_at=time.time(),
        updated_at=time.time(), state=state, done=done, total=1620.0, layer=int(28 * done / 1620), layers=28,  # type: ignore[arg-type]
    )  # fmt: skip


def fake_result() -> CompressionResult:
    """Figures of a good day."""
    return CompressionResult(
        path="builds/x.nutshell", bytes=587_000_000, seconds=1711.0, block_bits=2.19, all_bits=3.05, predicted=1630.0,
        measured=Measured(
            perplexity=5.31, perplexity_reference=4.72, bits_per_byte=0.61, kl_mean=0.0932, kl_p99=0.71, top1=0.893,
            bits_per_weight=2.19, bits_per_weight_all=3.05, file_bytes=587_000_000, tokens=8192, text="prose",
            tok_s=71.4,
        ),
    )  # fmt: skip


def fake_errors(number: int) -> list[LayerError]:
    """The first `number` points of a model of 28 layers; the second down_proj stands out, as it does."""
    points = []
    for n in range(number):
        layer, part = divmod(n, len(_MODULES))
        base = (0.012, 0.009, 0.03, 0.035, 0.042, 0.045, 0.05)[part] * (1 + 0.6 * ((layer * 7 + part * 3) % 5) / 5)
        error = 0.0006 if (layer, part) == (2, 6) else base * (0.7 + layer / 40)
        points.append(LayerError(layer=layer, module=_MODULES[part], level="aqlm-2x8", error=error))
    return points


class FakeCompressions:
    """Mixed into `FakeClient`.

    Attributes:
        compressions: the records. installed: whether the packages are there. plan_scale: size of the model planned.
        answers: what a comparison finds.
    """

    entries: list[ModelEntry]

    def __init__(self) -> None:
        self.compressions: list[Compression] = []
        self.installed = True
        self.plan_scale = 1.0
        self.positions: list[Position] | None = None
        self.answers: list[Answer] = []

    # Driving it

    def compression_moved(
        self, fraction: float, stage: str = "quantize", *, seconds_left: float | None = 560.0
    ) -> None:
        """The running one goes on."""
        record = self._running_compression()
        number = int(fraction * 28 * 7)
        record.done, record.layer = fraction * record.total, int(28 * fraction)
        progress = CompressionProgress(
            stage=stage, layer=record.layer, layers=28, module="model.layers.3.mlp.down_proj", rate=0.81,
            seconds_left=seconds_left, memory=int(3.42 * GB), errors=fake_errors(number),
        )  # fmt: skip
        self.publish(
            JobChanged(
                job=Job(
                    id=record.job or "", kind="compress", title=f"Compressing {record.name}", state="progress",
                    stage=stage, done=record.done, total=record.total, unit="s", compression=progress,
                )
            )
        )  # fmt: skip

    def compression_ended(self, state: str = "finished", error: ErrorInfo | None = None) -> None:
        """The running one ends: "finished", "failed" or "paused"."""
        record = self._running_compression()
        job_id, record.job = record.job or "", None
        record.state, record.error = state, error  # type: ignore[assignment]
        if state == "finished":
            record.result = record.result or fake_result()
        ended = {"paused": "cancelled"}.get(state, state)
        self.publish(
            JobChanged(
                job=Job(id=job_id, kind="compress", title="", state=ended, error=error, ended_at=time.time())  # type: ignore[arg-type]
            )
        )

    # What the window asks

    async def compression(self) -> CompressionStatus:
        self._called("compression")
        return deepcopy(
            CompressionStatus(
                installed=self.installed, packages_bytes=GB, command="python3 -m installer add compression",
                folder="nutshell", builds="data/builds", compressions=list(self.compressions),
            )
        )  # fmt: skip

    async def compression_sources(self) -> list[CompressionSource]:
        self._called("compression_sources")
        found = []
        for entry in deepcopy(self.entries):
            source = CompressionSource(entry=entry, rounded=entry.quantization not in ("F16", "BF16"))
            if entry.error is not None:
                source.reason = "damaged"
            elif entry.architecture not in ("llama", "qwen2"):
                source.reason = "architecture"
            found.append(source)
        return found

    async def plan_compression(self, request: PlanCompression) -> CompressionPlan:
        self._called("plan_compression", request)
        entry = next((one for one in self.entries if one.path == request.path), None)
        if entry is None:
            raise NotFoundError("There is no such model.", remedy="Choose another one.")
        return CompressionPlan(
            source=CompressionSource(entry=deepcopy(entry), rounded="Q" in entry.quantization),
            positions=fake_positions(self.plan_scale) if self.positions is None else deepcopy(self.positions),
            bandwidth=24e9, memory_total=16 * GB, memory_free=int(9.3 * GB), disk_free=87 * GB,
        )  # fmt: skip

    async def start_compression(self, request: NewCompression) -> Job:
        self._called("start_compression", request)
        record = fake_compression()
        record.levels = list(request.levels)
        record.name = request.name or record.name
        self.compressions.insert(0, record)
        return self._begin_compression(record)

    async def resume_compression(self, compression_id: str) -> Job:
        self._called("resume_compression", compression_id)
        return self._begin_compression(self._compression(compression_id))

    async def pause_compression(self, compression_id: str) -> Compression:
        self._called("pause_compression", compression_id)
        self.compression_ended("paused")
        return deepcopy(self._compression(compression_id))

    async def delete_compression(self, compression_id: str) -> None:
        self._called("delete_compression", compression_id)
        record = self._compression(compression_id)
        if record.job is not None:
            self.compression_ended("paused")
        self.compressions.remove(record)

    async def compare_compression(self, compression_id: str, request: ComparePrompts) -> Job:
        self._called("compare_compression", (compression_id, request))
        return Job(id="c" * 32, kind="compare", title="Comparing", state="started")

    async def export_build(self, request: ExportBuild) -> Job:
        self._called("export_build", request)
        return Job(id="e" * 32, kind="export", title="Exporting", state="started")

    def export_moved(self, done: float, total: float) -> None:
        """The export goes on."""
        job = Job(id="e" * 32, kind="export", title="", state="progress", stage="export", done=done, total=total)
        self.publish(JobChanged(job=job))

    def exported(self, path: str = "", error: ErrorInfo | None = None) -> None:
        """The export ends: with a folder, or with a reason."""
        result = {"path": path, "bytes": 369_000_000, "held": 166, "plain": 3, "notes": ["2 of 168 linears are plain."]}
        self.publish(
            JobChanged(
                job=Job(
                    id="e" * 32, kind="export", title="", state="failed" if error else "finished",
                    ended_at=time.time(), error=error, result=None if error else result,  # type: ignore[arg-type]
                )
            )
        )  # fmt: skip

    def compared(self, answers: list[Answer]) -> None:
        """The comparison ends."""
        result = {"answers": [{key: getattr(one, key) for key in one.__struct_fields__} for one in answers]}
        self.publish(
            JobChanged(
                job=Job(
                    id="c" * 32, kind="compare", title="", state="finished", ended_at=time.time(),
                    result=result,  # type: ignore[arg-type]
                )
            )
        )  # fmt: skip

    # Inside

    def _begin_compression(self, record: Compression) -> Job:
        if any(one.job for one in self.compressions):
            raise ConflictError("Another one is being made.")
        job = Job(id=f"{next(_ids):032x}", kind="compress", title=f"Compressing {record.name}", state="started")
        record.state, record.job, record.error = "running", job.id, None
        self.publish(JobChanged(job=job))
        return deepcopy(job)

    def _running_compression(self) -> Compression:
        return next(one for one in self.compressions if one.job is not None)

    def _compression(self, compression_id: str) -> Compression:
        for one in self.compressions:
            if one.id == compression_id:
                return one
        raise NotFoundError("This compression is not there any more.")

    def publish(self, event: AnyEvent) -> None:
        raise NotImplementedError

    def _called(self, method: str, argument: object = None) -> None:
        raise NotImplementedError
