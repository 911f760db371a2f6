"""The part of the client that speaks about the hub's token and the folder of the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from backend.api.hub_schemas import FolderState, MoveFolder, NewToken, RepositoryFits, TokenState
from backend.api.schemas import Job

if TYPE_CHECKING:
    import msgspec

__all__ = ["HubCalls"]

T = TypeVar("T")
#: Seconds for an answer of the system's keyring, which may ask the person for a password first.
_KEYRING_S = 150.0
#: Seconds for some megabytes of a header over a slow line.
_PEEK_S = 180.0
#: Seconds for a disk that has to wake up.
_DISK_S = 30.0


class HubCalls:
    """Mixed into `Client`."""

    if TYPE_CHECKING:

        async def _ask(
            self, method: str, path: str, kind: type[T], body: msgspec.Struct | None = None, *, read_s: float = 0.0
        ) -> T: ...

    async def repository_fits(self, name: str, revision: str = "main") -> RepositoryFits:
        """Which models of a repository would run here."""
        route = f"/api/hub/fits/{quote(name)}?revision={quote(revision, safe='')}"
        return await self._ask("GET", route, RepositoryFits, read_s=_PEEK_S)

    async def hub_token(self) -> TokenState:
        """Where the hub's token comes from."""
        return await self._ask("GET", "/api/hub/token", TokenState, read_s=_KEYRING_S)

    async def set_hub_token(self, new: NewToken) -> TokenState:
        """Puts a token into the system's keyring."""
        return await self._ask("POST", "/api/hub/token", TokenState, new, read_s=_KEYRING_S)

    async def forget_hub_token(self) -> TokenState:
        """Deletes the token from the system's keyring."""
        return await self._ask("DELETE", "/api/hub/token", TokenState, read_s=_KEYRING_S)

    async def models_folder(self) -> FolderState:
        """Where models are kept."""
        return await self._ask("GET", "/api/models/folder", FolderState, read_s=_DISK_S)

    async def move_models(self, request: MoveFolder) -> Job:
        """Moves what is Nutshell's into another folder; the job's events say how it goes."""
        return await self._ask("POST", "/api/models/folder", Job, request, read_s=_DISK_S)
