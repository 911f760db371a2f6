"""What crosses the wire about the hub's token. See `schemas` for the rules."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["NewToken", "TokenState"]


class NewToken(Struct, kw_only=True):
    """Body of PUT /api/hub/token."""

    token: str

    def __repr__(self) -> str:
        return "NewToken(...)"  # of a log, a traceback or a test's report


class TokenState(Struct, kw_only=True):
    """GET, PUT and DELETE /api/hub/token: where the token comes from, never the token.

    Attributes:
        source: HF_TOKEN; entered here and in the system's keyring; of `hf auth login`; nobody's.
        endpoint: the hub that it is for.
        keyring: name of the system's keyring; "" where there is none.
        why: one sentence where there is no keyring, or where it could not be read.
    """

    source: Literal["environment", "keyring", "login", "none"]
    endpoint: str
    keyring: str = ""
    why: str = ""
