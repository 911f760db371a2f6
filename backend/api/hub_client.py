"""The part of the client that speaks about the hub's token."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from backend.api.hub_schemas import NewToken, TokenState

if TYPE_CHECKING:
    import msgspec

__all__ = ["HubCalls"]

T = TypeVar("T")
#: Seconds for an answer of the system's keyring, which may ask the person for a password first.
_KEYRING_S = 150.0


class HubCalls:
    """Mixed into `Client`."""

    if TYPE_CHECKING:

        async def _ask(
            self, method: str, path: str, kind: type[T], body: msgspec.Struct | None = None, *, read_s: float = 0.0
        ) -> T: ...

    async def hub_token(self) -> TokenState:
        """Where the hub's token comes from."""
        return await self._ask("GET", "/api/hub/token", TokenState, read_s=_KEYRING_S)

    async def set_hub_token(self, new: NewToken) -> TokenState:
        """Puts a token into the system's keyring."""
        return await self._ask("PUT", "/api/hub/token", TokenState, new, read_s=_KEYRING_S)

    async def forget_hub_token(self) -> TokenState:
        """Deletes the token from the system's keyring."""
        return await self._ask("DELETE", "/api/hub/token", TokenState, read_s=_KEYRING_S)
