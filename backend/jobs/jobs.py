"""Long work that people watch: started, moving, and then exactly one of finished, failed, cancelled."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from backend.api.errors import NotFoundError, NutshellError
from backend.api.schemas import CompressionProgress, ErrorInfo, Event, Job, JobChanged

__all__ = ["JobHandle", "Jobs", "Work"]

logger = logging.getLogger(__name__)

#: Seconds between two published movements of one job: ten a second look smooth and cost nothing.
PUBLISH_EVERY_S = 0.1
#: Ended jobs that are remembered.
KEEP_ENDED = 50
_News = tuple[str, float, float, str, CompressionProgress | None]


class JobHandle:
    """What the work sees of its job. All members may be used from any thread."""

    def __init__(self, jobs: Jobs, job_id: str) -> None:
        self.id = job_id
        self._jobs = jobs
        self._cancel = threading.Event()
        self._lock = threading.Lock()
        self._news: _News | None = None
        self._scheduled = False

    @property
    def cancelled(self) -> bool:
        """Whether someone asked for the work to stop. It ends as cancelled when it then raises anything."""
        return self._cancel.is_set()

    @property
    def stop(self) -> threading.Event:
        """Set when someone asks the work to stop; for waiting on."""
        return self._cancel

    def progress(
        self,
        stage: str,
        done: float = 0.0,
        total: float = 0.0,
        unit: str = "",
        compression: CompressionProgress | None = None,
    ) -> bool:
        """Says how far the work is; `total` 0 is unknown. Returns False when the work should stop."""
        with self._lock:
            self._news = (stage, done, total, unit, compression)
            schedule = not self._scheduled
            self._scheduled = True
        if schedule:
            self._jobs.wake(self)
        return not self._cancel.is_set()

    def request_cancel(self) -> None:
        """Asks the work to stop."""
        self._cancel.set()

    def take_news(self) -> _News | None:
        """The newest progress since the last call."""
        with self._lock:
            news, self._news, self._scheduled = self._news, None, False
            return news


#: Work gets its handle and returns the job's result.
Work = Callable[[JobHandle], Awaitable[dict[str, object] | None]]


class _Record:
    """A job with its task."""

    def __init__(self, job: Job, handle: JobHandle) -> None:
        self.job = job
        self.handle = handle
        self.task: asyncio.Task[None] | None = None
        self.failure: NutshellError | None = None
        self.published = 0.0


class Jobs:
    """The registry. Lives on the event loop's thread; only `JobHandle` crosses threads."""

    def __init__(self, publish: Callable[[Event], None], *, every_s: float = PUBLISH_EVERY_S) -> None:
        self._publish = publish
        self._every = every_s
        self._records: dict[str, _Record] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, kind: str, title: str, work: Work) -> Job:
        """Starts `work` on the running loop and returns its job, state started."""
        self._loop = asyncio.get_running_loop()
        job = Job(id=uuid.uuid4().hex, kind=kind, title=title, state="started", started_at=time.time())
        record = _Record(job, JobHandle(self, job.id))
        self._records[job.id] = record
        self._forget_old()
        self._tell(record)
        record.task = self._loop.create_task(self._run(record, work), name=f"job {kind}")
        return replace(job)

    def list(self) -> list[Job]:
        """All jobs that are remembered, newest first."""
        return [replace(record.job) for record in reversed(self._records.values())]

    def get(self, job_id: str) -> Job:
        """One job. Raises NotFoundError."""
        return replace(self._record(job_id).job)

    def cancel(self, job_id: str) -> Job:
        """Asks a job to stop and returns it as it is now; one that has ended stays as it ended."""
        record = self._record(job_id)
        if record.job.ended_at is None:
            record.handle.request_cancel()
        return replace(record.job)

    async def wait(self, job_id: str) -> Job:
        """Waits until the job has ended. Raises what it failed with, as the NutshellError that it was."""
        record = self._record(job_id)
        assert record.task is not None
        await asyncio.wait({record.task})
        if record.failure is not None:
            raise record.failure
        return replace(record.job)

    async def close(self, grace_s: float = 0.5) -> None:
        """Cancels everything and waits up to `grace_s` seconds for it to end."""
        tasks = []
        for record in self._records.values():
            record.handle.request_cancel()
            if record.task is not None and not record.task.done():
                tasks.append(record.task)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for record in self._records.values():
            if record.job.ended_at is None:  # its task was cancelled before it began
                self._end(record, "cancelled")

    def wake(self, handle: JobHandle) -> None:
        """From any thread: there is news of this job."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._on_news, handle)
        except RuntimeError:
            logger.debug("progress of job %s came after the loop was closed", handle.id)

    def _on_news(self, handle: JobHandle) -> None:
        """At most one of these is under way per job: the first movement at once, the others at the end of a pause."""
        record = self._records.get(handle.id)
        if record is None or record.job.ended_at is not None or self._loop is None:
            return
        pause = record.published + self._every - self._loop.time()
        if pause > 0:
            self._loop.call_later(pause, self._on_news, handle)
        elif (news := handle.take_news()) is not None:
            self._apply(record, news)
            self._tell(record)

    def _apply(self, record: _Record, news: _News) -> None:
        job = record.job
        job.state = "progress"
        job.stage, job.done, job.total, job.unit, job.compression = news

    def _tell(self, record: _Record) -> None:
        assert self._loop is not None
        # The start does not count: the first movement after it should be seen at once.
        if record.job.state != "started":
            record.published = self._loop.time()
        self._publish(JobChanged(job=replace(record.job)))

    async def _run(self, record: _Record, work: Work) -> None:
        job, handle = record.job, record.handle
        try:
            result = await work(handle)
        except asyncio.CancelledError:
            self._end(record, "cancelled")
            raise
        except NutshellError as error:
            if handle.cancelled:
                self._end(record, "cancelled")
            else:
                record.failure = error
                self._end(record, "failed", error)
        except Exception as error:
            logger.exception("job %s (%s) broke", job.id, job.kind)
            if handle.cancelled:
                self._end(record, "cancelled")
                return
            record.failure = NutshellError(
                f"{job.title} did not work.",
                why="This is a fault in Nutshell, not in what you did.",
                remedy="Try again; the log in the data folder helps to find the cause.",
                details=f"{type(error).__name__}: {error}",
            )
            self._end(record, "failed", record.failure)
        else:
            job.result = result
            self._end(record, "finished")

    def _end(self, record: _Record, state: str, error: NutshellError | None = None) -> None:
        job = record.job
        if (news := record.handle.take_news()) is not None:
            self._apply(record, news)
        match state:
            case "finished":
                job.state = "finished"
            case "failed":
                job.state = "failed"
            case _:
                job.state = "cancelled"
        if error is not None:
            job.error = ErrorInfo.of(error)
        job.ended_at = time.time()
        self._tell(record)

    def _record(self, job_id: str) -> _Record:
        record = self._records.get(job_id)
        if record is None:
            raise NotFoundError("This task is not known any more.", why="It has ended, or the engine was restarted.")
        return record

    def _forget_old(self) -> None:
        ended = [key for key, record in self._records.items() if record.job.ended_at is not None]
        for key in ended[: max(0, len(ended) - KEEP_ENDED)]:
            del self._records[key]
