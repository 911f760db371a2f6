"""Moving the models' folder as a job, while nothing of it is in use."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from backend.api.errors import ConflictError, NutshellError
from backend.api.hub_schemas import FolderState
from backend.api.schemas import Job, LoadedModel
from backend.config.paths import paths
from backend.hub.home import builds_of, folders, hub_of, read_home
from backend.hub.moving import Far, Item
from backend.hub.relocate import relocate
from backend.jobs.compressing import Compressions
from backend.jobs.compression_records import Records
from backend.jobs.download_records import DownloadRecords
from backend.jobs.downloading import Downloads
from backend.jobs.jobs import JobHandle, Jobs

__all__ = ["ModelsFolder", "check_idle", "etags"]


def check_idle() -> None:
    """Raises ConflictError where a Nutshell, of this process or another, downloads or compresses."""
    states = [("download", known.download.state) for known in _downloads().list()]
    states += [("compression", record.state) for record in Records(builds_of(read_home().folder)).list()]
    for what, state in states:
        if state in ("running", "queued"):
            raise ConflictError(f"A {what} is running.", remedy=f"Pause the {what}, then move the models.")


def etags() -> set[str]:
    """Names of the blobs of all files that were downloaded, or are to be. Reads the disk."""
    return {file.etag for known in _downloads().list() for file in known.files}


def _downloads() -> DownloadRecords:
    return DownloadRecords(paths().data / "downloads")


class ModelsFolder:
    """Says where models are kept, and moves them. Lives on the event loop's thread.

    Args:
        loaded: the model that is loaded now.
    """

    def __init__(
        self, jobs: Jobs, downloads: Downloads, compressions: Compressions, loaded: Callable[[], LoadedModel | None]
    ) -> None:
        self._jobs = jobs
        self._downloads = downloads
        self._compressions = compressions
        self._loaded = loaded
        self._job = ""

    def state(self) -> FolderState:
        """Where it is; looks at the disk."""
        home = read_home()
        hub, builds = hub_of(home.folder), builds_of(home.folder)
        at = hub
        while not at.exists() and at != at.parent:
            at = at.parent
        return FolderState(
            folder=home.folder,
            downloads=str(hub),
            builds=str(builds),
            also=[str(one) for one in folders() if str(one) != home.folder],
            free=shutil.disk_usage(at).free,
            unfinished=home.unfinished,
            job=self._job or None,
        )

    async def move(self, folder: str) -> Job:
        """Begins to move what is Nutshell's into a folder; "" is back to the usual places.

        Raises:
            ConflictError: something of it is in use, or a move runs. The job fails with what `relocate` raises.
        """
        if self._job:
            raise ConflictError("The models are being moved already.", remedy="Wait for it, or stop it first.")
        await asyncio.to_thread(check_idle)

        async def work(handle: JobHandle) -> dict[str, object]:
            try:
                outcome = await asyncio.to_thread(
                    relocate,
                    folder,
                    etags,
                    lambda far: _tell(handle, far),
                    handle.stop,
                    in_use=self._check_loaded,
                )
            finally:
                self._job = ""
                await asyncio.to_thread(self._settle)
            return {"moved": outcome.moved, "left": [f"{name}: {why}" for name, why in outcome.left]}

        job = self._jobs.start("move_models", "Moving the models", work)
        self._job = job.id
        return job

    def _settle(self) -> None:
        """What remembers places learns the new ones."""
        self._compressions.use_folder(builds_of(read_home().folder))
        with contextlib.suppress(NutshellError):  # the folder is not there; who uses a model is told
            self._downloads.find_again()

    def _check_loaded(self, wanted: Sequence[Item]) -> None:
        loaded = self._loaded()
        if loaded is None:
            return
        paths = [loaded.entry.path, *([loaded.draft_model] if loaded.draft_model not in ("", "self") else [])]
        for path in paths:
            if any(Path(path).is_relative_to(item.source) for item in wanted):
                raise ConflictError(
                    f"{loaded.entry.name} is in use.", remedy="Choose another model first, then move the models."
                )


def _tell(handle: JobHandle, far: Far) -> None:
    handle.progress("move", far.done, far.total, "B")
