"""Making models smaller, as jobs: one at a time, in a process of its own, resumable after anything."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from backend.api.compression import (
    Answer,
    Compression,
    CompressionPlan,
    CompressionResult,
    CompressionSource,
    CompressionStatus,
    ExportBuild,
    Exported,
    Measured,
    NewCompression,
    PlanCompression,
    Position,
)
from backend.api.errors import ConflictError, InvalidRequestError, NutshellError, PackagesMissingError
from backend.api.schemas import CompressionProgress, ErrorInfo, HardwareReport, Job, LayerError, ModelEntry
from backend.config.paths import program_folder
from backend.jobs.compression_child import CHILD, StoppedError, run_child
from backend.jobs.compression_plan import PLAN_LEVELS, make_plan, source_of
from backend.jobs.compression_records import Records, free_name
from backend.jobs.jobs import JobHandle, Jobs
from backend.jobs.loading import named_entry
from backend.quantize.options import LEVELS
from backend.quantize.wire import Compare, Compress, Export, Inspect, Measure, Moved

__all__ = ["Compressions", "packages_installed"]

logger = logging.getLogger(__name__)

#: About what `installer add compression` takes; on Linux with an NVIDIA GPU several times that.
_PACKAGES_BYTES = 1_000_000_000
#: Seconds between two writes of how far a compression is: it is shown where one can be resumed, and nowhere else.
_SAVE_EVERY_S = 5.0


class ModelList(Protocol):
    """The part of the list of local models that is needed here."""

    def scan(self) -> list[ModelEntry]: ...
    def by_id(self, model: str, /) -> ModelEntry: ...
    def entry_for(self, path: Path, /) -> ModelEntry: ...


def packages_installed() -> bool:
    """Whether the packages are there; they are looked for, not loaded."""
    return importlib.util.find_spec("torch") is not None


@dataclass
class _Running:
    record: Compression
    job: Job
    keep: bool = True  # when it is stopped; else it is deleted
    errors: list[LayerError] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Compressions:
    """Starts, follows, stops and finds compressions. Lives on the event loop's thread.

    Args:
        folder: of the builds, the records and the work folders.
        command: starts the child process.
        installed: whether it can run at all.
        bandwidth: measures the machine's memory; called off the loop.
    """

    def __init__(
        self,
        models: ModelList,
        jobs: Jobs,
        folder: Path,
        hardware: Callable[[], HardwareReport],
        *,
        command: Sequence[str] = CHILD,
        installed: Callable[[], bool] = packages_installed,
        bandwidth: Callable[[int], float] | None = None,
    ) -> None:
        self._models = models
        self._jobs = jobs
        self._records = Records(folder)
        self._hardware = hardware
        self._command = tuple(command)
        self._installed = installed
        self._bandwidth = bandwidth or _bandwidth
        self._running: _Running | None = None
        self._aside = ""  # other work of a child, in words

    # What there is

    def use_folder(self, folder: Path) -> None:
        """Builds and records are in another folder from now on."""
        self._records = Records(folder)

    async def status(self) -> CompressionStatus:
        """Whether it can be done here, and every compression that is known."""
        found = await asyncio.to_thread(self._listed)
        return CompressionStatus(
            installed=await asyncio.to_thread(self._installed),
            packages_bytes=_PACKAGES_BYTES,
            command=f"{'python' if sys.platform == 'win32' else 'python3'} -m installer add compression",
            folder=str(program_folder()),
            builds=str(self._records.folder),
            compressions=[self._live(record) for record in found],
        )

    async def sources(self) -> list[CompressionSource]:
        """The models of this machine, and which of them can be made smaller."""
        entries = await asyncio.to_thread(self._models.scan)
        known = await asyncio.to_thread(_architectures)
        return [source_of(entry, known) for entry in entries]

    async def plan(self, request: PlanCompression) -> CompressionPlan:
        """What this machine can hold of a model. Some seconds: the child reads headers and knows the rates.

        Raises:
            NotFoundError, ModelError: the model. PackagesMissingError: nothing can be made here.
        """
        source = await self._source(request)
        self._need_packages()
        folder = str(self._records.folder)
        ask = Inspect(source=source.entry.path, folder=folder, levels=list(PLAN_LEVELS), options=request.options)
        machine = await asyncio.to_thread(self._hardware)
        # first the bandwidth, then the child: the other's work would be measured as slowness
        bandwidth = await asyncio.to_thread(self._bandwidth, machine.cpu.cores)
        raw = await run_child(self._command, ask)
        positions = msgspec.json.decode(raw, type=list[Position])
        refused = [one.error for one in positions if one.error is not None]
        if positions and len(refused) == len(positions):
            raise refused[0].to_error()
        return make_plan(source, positions, machine, bandwidth, request.options.tuning)

    # Running one

    async def start(self, request: NewCompression) -> Job:
        """Begins a compression.

        Raises:
            ConflictError: one is running. InvalidRequestError: a level that is not known.
            NotFoundError, ModelError, PackagesMissingError, StorageError.
        """
        self._need_idle()
        self._need_packages()
        if unknown := sorted(set(request.levels) - set(LEVELS)):
            raise InvalidRequestError(f"There is no level {unknown[0]!r}.", remedy=f"Use one of {', '.join(LEVELS)}.")
        entry = (await self._source(request)).entry
        model = entry.name.rsplit("/", 1)[-1].removesuffix(".gguf")
        name = request.name.strip() or f"{model} {request.levels[0] if len(request.levels) == 1 else 'slider'}"
        now = time.time()
        record = Compression(
            id=uuid.uuid4().hex,
            name=name,
            out=str(free_name(self._records.folder, name)),
            source_name=entry.name,
            source_path=entry.path,
            source_bytes=entry.bytes,
            levels=list(request.levels),
            options=request.options,
            created_at=now,
            updated_at=now,
        )
        return await self._begin(record)

    async def resume(self, record_id: str) -> Job:
        """Goes on with one that is paused, was interrupted or failed. Raises like `start`."""
        if self._running is not None and self._running.record.id == record_id:
            return self._jobs.get(self._running.job.id)
        self._need_idle()
        self._need_packages()
        record = await asyncio.to_thread(self._records.get, record_id)
        if record.state in ("running", "finished"):
            raise ConflictError(
                "This compression is finished." if record.state == "finished" else "Another Nutshell is working on it."
            )
        record.error = None
        return await self._begin(record)

    async def pause(self, record_id: str) -> Compression:
        """Stops the work and keeps what is done; returns when it has ended. One that does not run stays as it is."""
        running = self._running
        if running is not None and running.record.id == record_id:
            self._jobs.cancel(running.job.id)
            await running.ended.wait()
        return await asyncio.to_thread(self._records.get, record_id)

    async def delete(self, record_id: str) -> None:
        """Stops the work and deletes what is done. A finished build stays, only its record goes.

        Raises:
            NotFoundError, StorageError. ConflictError: another Nutshell is working on it.
        """
        running = self._running
        if running is not None and running.record.id == record_id:
            running.keep = False
            self._jobs.cancel(running.job.id)
            await running.ended.wait()
        record = await asyncio.to_thread(self._records.get, record_id)
        if record.state == "running":
            raise ConflictError("Another Nutshell is working on it.", remedy="Pause it there first.")
        await asyncio.to_thread(self._records.delete, record)

    async def compare(self, record_id: str, prompts: list[str]) -> Job:
        """Asks source and build the same questions; the answers are the job's result.

        Raises:
            NotFoundError. ConflictError: it is not finished, or other work is under way.
        """
        record = await asyncio.to_thread(self._records.get, record_id)
        if record.result is None:
            raise ConflictError("This build is not finished.", remedy="Go on with it first.")
        self._need_idle()
        ask = Compare(build=record.out, reference=record.source_path, prompts=prompts, threads=record.options.threads)

        async def work(handle: JobHandle) -> dict[str, object]:
            try:
                raw = await run_child(self._command, ask, stopping=lambda: handle.cancelled)
                answers = msgspec.json.decode(raw, type=list[Answer])
                return {"answers": msgspec.to_builtins(answers)}
            finally:
                self._aside = ""

        self._aside = "Answers are being compared."
        return self._jobs.start("compare", f"Comparing {record.name}", work)

    async def export(self, request: ExportBuild) -> Job:
        """Writes a build as a folder for other programs; the job's result is an `Exported`, or why not.

        Raises:
            ConflictError: other work is under way.
        """
        self._need_idle()
        ask = Export(build=request.build, out=request.out, format=request.format)

        async def work(handle: JobHandle) -> dict[str, object]:
            def moved(news: Moved) -> None:
                handle.progress("export", news.done, news.total)

            try:
                raw = await run_child(self._command, ask, moved, lambda: handle.cancelled)
                found: dict[str, object] = msgspec.to_builtins(msgspec.json.decode(raw, type=Exported))
                return found
            finally:
                self._aside = ""

        self._aside = "A build is being exported."
        return self._jobs.start("export", f"Exporting {Path(request.build).stem}", work)

    async def _begin(self, record: Compression) -> Job:
        record.state, record.job = "running", None
        await asyncio.to_thread(self._records.save, record)
        self._need_idle()  # another request may have come while the disk was written

        async def work(handle: JobHandle) -> dict[str, object]:
            assert self._running is not None
            return await self._work(handle, self._running)

        job = self._jobs.start("compress", f"Compressing {record.name}", work)
        record.job = job.id
        self._running = _Running(record, job)
        return job

    async def _work(self, handle: JobHandle, running: _Running) -> dict[str, object]:
        record = running.record
        try:
            if record.result is None or not await asyncio.to_thread(Path(record.out).is_file):
                await self._compress(handle, running)
            await self._measure(handle, running)
            record.state = "finished"
        except StoppedError:
            record.state = "paused"
            raise
        except NutshellError as error:
            record.state, record.error = "failed", ErrorInfo.of(error)
            raise
        except BaseException:
            record.state = "interrupted"  # the engine ends, or a fault of ours
            raise
        finally:
            self._running = None
            record.job = None
            with contextlib.suppress(NutshellError):
                self._records.save(record)
            running.ended.set()
        return {"compression": record.id, "path": record.out}

    async def _compress(self, handle: JobHandle, running: _Running) -> None:
        record = running.record
        ask = Compress(source=record.source_path, out=record.out, levels=record.levels, options=record.options)
        saved = time.monotonic()

        def moved(news: Moved) -> None:
            nonlocal saved
            if news.error is not None:
                running.errors.append(_point(news))
            record.done, record.total, record.layer, record.layers = news.done, news.total, news.layer, news.layers
            handle.progress(news.stage, news.done, news.total, "s", _progress(news, running.errors))
            if time.monotonic() - saved > _SAVE_EVERY_S:
                saved = time.monotonic()
                with contextlib.suppress(NutshellError):  # a full disk is the compressor's to report
                    self._records.save(record)

        raw = await run_child(self._command, ask, moved, lambda: handle.cancelled)
        record.result = msgspec.json.decode(raw, type=CompressionResult)
        await asyncio.to_thread(self._records.save, record)  # whatever becomes of the measuring: it is made

    async def _measure(self, handle: JobHandle, running: _Running) -> None:
        """In a child of its own: the compressor's memory is free again. A failure leaves the build as it is."""
        record = running.record
        assert record.result is not None
        ask = Measure(build=record.out, reference=record.source_path, threads=record.options.threads)

        def moved(news: Moved) -> None:
            handle.progress("measure", news.done, news.total, "", _progress(news, running.errors))

        handle.progress("measure", compression=_progress(Moved(stage="measure"), running.errors))
        try:
            raw = await run_child(self._command, ask, moved, lambda: handle.cancelled)
            record.result.measured = msgspec.json.decode(raw, type=Measured)
            record.result.measure_error = None
        except StoppedError:
            raise
        except NutshellError as error:
            logger.warning("the build %s was not measured: %s [%s]", record.out, error, error.details)
            record.result.measure_error = ErrorInfo.of(error)

    async def _source(self, request: PlanCompression) -> CompressionSource:
        entry = await named_entry(self._models, request.id, request.path)
        source = source_of(entry, await asyncio.to_thread(_architectures))
        if source.reason == "compressed":
            raise InvalidRequestError(
                f"{entry.name} is compressed already.",
                why="Compressing what was rounded before adds one error to another.",
                remedy="Choose the model that it was made from.",
            )
        if source.reason == "architecture":
            raise InvalidRequestError(
                f"{entry.name} cannot be made smaller here.",
                why=f"Models of the kind {entry.architecture[:40] or 'unknown'} do not run on our own engine.",
                remedy="Llama, Mistral, Qwen2 and Qwen3 models can be compressed.",
            )
        return source

    def _listed(self) -> list[Compression]:
        """Not those whose build was deleted, or moved away."""
        return [one for one in self._records.list() if one.state != "finished" or Path(one.out).is_file()]

    def _live(self, record: Compression) -> Compression:
        running = self._running
        return running.record if running is not None and running.record.id == record.id else record

    def _need_idle(self) -> None:
        if self._running is not None:
            raise ConflictError(
                f"{self._running.record.name} is being made.",
                why="One model is compressed at a time: two would take twice the memory and be no faster.",
                remedy="Wait for it, or pause it.",
            )
        if self._aside:
            raise ConflictError(self._aside, remedy="Wait for it, which takes a minute.")

    def _need_packages(self) -> None:
        if not self._installed():
            raise PackagesMissingError(
                "The packages that making models smaller needs are not installed.",
                remedy="Add them with: python3 -m installer add compression",
            )


def _progress(news: Moved, errors: list[LayerError]) -> CompressionProgress:
    return CompressionProgress(
        stage=news.stage,
        layer=news.layer,
        layers=news.layers,
        module=news.module,
        rate=news.rate,
        seconds_left=news.seconds_left,
        memory=news.memory,
        errors=list(errors),
    )


def _point(news: Moved) -> LayerError:
    """model.layers.3.mlp.up_proj -> layer 3, "up_proj"; the head has no layer of its own and comes after the last."""
    parts = news.module.split(".")
    layer = next((int(part) for part in parts if part.isdecimal()), news.layers)
    return LayerError(layer=layer, module=parts[-1], level=news.level, error=float(f"{news.error or 0.0:.4g}"))


def _architectures() -> frozenset[str]:
    from backend.architectures import ARCHITECTURES

    return frozenset(ARCHITECTURES)


def _bandwidth(threads: int) -> float:
    from backend.hardware.bandwidth import memory_bandwidth

    return memory_bandwidth(threads)
