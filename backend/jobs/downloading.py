"""Downloads as jobs: one model at a time, the others wait; each goes on where it was after anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from backend.api.downloads import Download, NewDownload, RemoteChoice, RemoteRepository, SearchResult
from backend.api.errors import ConflictError, NotFoundError, NutshellError
from backend.api.schemas import ErrorInfo, Job
from backend.hub.choices import Choice, choices, choose
from backend.hub.fetch import Moved, Wanted, discard, download, here, model_path
from backend.hub.network import NETWORK, Network
from backend.hub.remote import open_repository, search
from backend.hub.transfer import Pace, StoppedError
from backend.jobs.download_records import DownloadRecords, Known
from backend.jobs.jobs import JobHandle, Jobs

__all__ = ["Downloads"]

logger = logging.getLogger(__name__)

#: Seconds between two writes of how far a download is; what counts is in the partial files.
_SAVE_EVERY_S = 2.0
#: Seconds after which one that waits for its turn notices that it was stopped.
_LOOK_EVERY_S = 0.2


@dataclass
class _Active:
    known: Known
    job: Job
    keep: bool = True  # when it is stopped; else what has arrived is deleted
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Downloads:
    """Asks the hub, starts, follows, stops and finds downloads. Lives on the event loop's thread.

    Args:
        folder: of the records.
        root: the Hugging Face cache, if it is not the usual one.
        network: whose switches hold.
    """

    def __init__(self, jobs: Jobs, folder: Path, *, root: Path | None = None, network: Network = NETWORK) -> None:
        self._jobs = jobs
        self._records = DownloadRecords(folder)
        self._root = root
        self._network = network
        self._active: dict[str, _Active] = {}
        self._turn: asyncio.Lock | None = None  # fair: first come, first served
        self._pace = Pace()

    # The hub

    async def search(self, text: str) -> list[SearchResult]:
        """Repositories by name. Raises OfflineError, NetworkError."""
        found = await asyncio.to_thread(search, text, network=self._network)
        return [
            SearchResult(repository=one.name, downloads=one.downloads, likes=one.likes, parameters=one.parameters)
            for one in found
        ]

    async def repository(self, name: str, revision: str = "main") -> RemoteRepository:
        """What a repository offers. Raises what `open_repository` raises."""
        return await asyncio.to_thread(self._offer, name, revision)

    def _offer(self, name: str, revision: str) -> RemoteRepository:
        found = open_repository(name, revision, self._network)
        offered = [
            RemoteChoice(
                name=choice.name,
                files=[file.path for file in choice.files],
                bytes=choice.bytes,
                here=here(Wanted(found.name, found.commit, choice.files), self._root),
            )
            for choice in choices(found)
        ]
        return RemoteRepository(
            repository=found.name, commit=found.commit, licence=found.licence, gated=found.gated, choices=offered
        )

    # Downloads

    async def list(self) -> list[Download]:
        """Every download that is known, newest first."""
        found = await asyncio.to_thread(self._records.list)
        return [self._live(known).download for known in found]

    async def start(self, request: NewDownload) -> Job:
        """Begins a download, or queues it.

        Raises:
            NotFoundError: the repository has no such model. ConflictError: it is being downloaded.
            OfflineError, NetworkError and its kin; ReadOnlyError.
        """
        found = await asyncio.to_thread(open_repository, request.repository, request.revision, self._network)
        choice = _one(choose(found, request.choice), request)
        wanted = Wanted(found.name, found.commit, choice.files, request.revision)
        for active in self._active.values():
            if _wanted(active.known) == wanted:
                return self._jobs.get(active.job.id)
        for known in await asyncio.to_thread(self._records.list):
            if _wanted(known) == wanted and known.download.state != "finished":
                return await self._begin(known)
        now = time.time()
        fresh = Download(
            id=uuid.uuid4().hex, repository=found.name, choice=choice.name, revision=request.revision,
            commit=found.commit, bytes=choice.bytes, created_at=now, updated_at=now,
        )  # fmt: skip
        return await self._begin(Known(download=fresh, files=list(choice.files)))

    async def resume(self, download_id: str) -> Job:
        """Goes on with one that is paused, was interrupted or failed.

        Raises:
            NotFoundError. ConflictError: it is finished, or another Nutshell works on it. ReadOnlyError.
        """
        if download_id in self._active:
            return self._jobs.get(self._active[download_id].job.id)
        known = await asyncio.to_thread(self._records.get, download_id)
        if known.download.state == "finished":
            raise ConflictError("This download is finished.")
        if known.download.state in ("running", "queued"):
            raise ConflictError("Another Nutshell is working on it.")
        return await self._begin(known)

    async def pause(self, download_id: str) -> Download:
        """Stops it and keeps what has arrived; returns when it has ended. One that does not run stays as it is."""
        await self._stop(download_id, keep=True)
        return (await asyncio.to_thread(self._records.get, download_id)).download

    async def delete(self, download_id: str) -> None:
        """Stops it and deletes what has arrived; of a finished one only the record goes. Raises NotFoundError."""
        await self._stop(download_id, keep=False)
        known = await asyncio.to_thread(self._records.get, download_id)
        if known.download.state in ("running", "queued"):
            raise ConflictError("Another Nutshell is working on it.", remedy="Pause it there first.")
        if known.download.state != "finished":
            await asyncio.to_thread(discard, _wanted(known), self._root)
        await asyncio.to_thread(self._records.delete, download_id)

    def find_again(self) -> None:
        """Notes where finished models are after they were moved. Raises StorageError, ReadOnlyError."""
        for known in self._records.list():
            record = known.download
            if record.state == "finished" and not Path(record.path).exists():
                now = model_path(_wanted(known), self._root)
                if now.exists():
                    record.path = str(now)
                    self._records.save(known)

    def limit(self, bytes_per_second: float) -> None:
        """Holds all downloads together to so much, from now on; 0 is no limit."""
        self._pace.set(bytes_per_second)

    async def _stop(self, download_id: str, *, keep: bool) -> None:
        active = self._active.get(download_id)
        if active is not None:
            active.keep = keep
            self._jobs.cancel(active.job.id)
            await active.ended.wait()

    async def _begin(self, known: Known) -> Job:
        known.download.state, known.download.error = "queued", None
        await asyncio.to_thread(self._records.save, known)
        if known.download.id in self._active:  # another request came while the disk was written
            return self._jobs.get(self._active[known.download.id].job.id)
        active: _Active | None = None

        async def work(handle: JobHandle) -> dict[str, object]:
            assert active is not None
            return await self._work(handle, active)

        name = known.download.repository.split("/")[-1]
        job = self._jobs.start("download", f"Downloading {name} {known.download.choice}", work)
        known.download.job = job.id
        active = self._active[known.download.id] = _Active(known, job)
        return job

    async def _work(self, handle: JobHandle, active: _Active) -> dict[str, object]:
        record = active.known.download
        try:
            path = await self._in_turn(handle, active)
            record.state, record.path, record.done = "finished", str(path), record.bytes
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
            record.job = None
            del self._active[record.id]
            with contextlib.suppress(NutshellError):
                self._records.save(active.known)
            active.ended.set()
        return {"download": record.id, "path": record.path}

    async def _in_turn(self, handle: JobHandle, active: _Active) -> Path:
        self._turn = self._turn or asyncio.Lock()
        handle.progress("queued", 0, active.known.download.bytes, "B")
        waiting = asyncio.create_task(self._turn.acquire())
        while not (await asyncio.wait({waiting}, timeout=_LOOK_EVERY_S))[0]:
            if handle.cancelled:
                waiting.cancel()
                await asyncio.wait({waiting})
                if not waiting.cancelled():
                    self._turn.release()
                raise StoppedError
        try:
            active.known.download.state = "running"
            await asyncio.to_thread(self._records.save, active.known)
            return await asyncio.to_thread(self._fetch, handle, active)
        finally:
            self._turn.release()

    def _fetch(self, handle: JobHandle, active: _Active) -> Path:
        saved = time.monotonic()

        def told(moved: Moved) -> None:
            nonlocal saved
            active.known.download.done = moved.done
            handle.progress("download", moved.done, moved.total, "B")
            if time.monotonic() - saved > _SAVE_EVERY_S:
                saved = time.monotonic()
                with contextlib.suppress(NutshellError):  # a full disk is the transfer's to report
                    self._records.save(active.known)

        return download(
            _wanted(active.known), told, handle.stop, pace=self._pace, root=self._root, network=self._network
        )

    def _live(self, known: Known) -> Known:
        active = self._active.get(known.download.id)
        return active.known if active is not None else known


def _wanted(known: Known) -> Wanted:
    record = known.download
    return Wanted(record.repository, record.commit, tuple(known.files), record.revision)


def _one(found: list[Choice], request: NewDownload) -> Choice:
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(choice.name for choice in found[:8])
        raise NotFoundError(
            f"{request.choice!r} may mean several models of {request.repository}.", remedy=f"Choose one of: {names}."
        )
    raise NotFoundError(
        f"{request.repository} has no model {request.choice!r} that Nutshell can run.",
        why="GGUF files, Nutshell's own files and safetensors are known; files of Python objects are never read.",
    )
