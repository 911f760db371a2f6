"""What crosses the wire about the hub's token, the folder of the models, and what of the hub would run here.

See `schemas` for the rules.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Fit", "FolderState", "MoveFolder", "NewToken", "RepositoryFits", "TokenState"]


class NewToken(Struct, kw_only=True):
    """Body of POST /api/hub/token."""

    token: str

    def __repr__(self) -> str:
        return "NewToken(...)"  # of a log, a traceback or a test's report


class TokenState(Struct, kw_only=True):
    """GET, POST and DELETE /api/hub/token: where the token comes from, never the token.

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


class FolderState(Struct, kw_only=True):
    """GET /api/models/folder: where models are kept.

    Attributes:
        folder: that was chosen; "" for the usual places.
        downloads, builds: where those go. also: folders chosen before that still hold something.
        free: bytes on the disk of the downloads.
        unfinished: a move into `folder` has begun and not ended. job: while it runs in this engine.
    """

    folder: str
    downloads: str
    builds: str
    also: list[str] = []
    free: int = 0
    unfinished: bool = False
    job: str | None = None


class MoveFolder(Struct, kw_only=True):
    """Body of POST /api/models/folder: an absolute path, or "" for the usual places."""

    folder: str


class Fit(Struct, kw_only=True):
    """Whether one model of a repository would run here; fields as in `Offer`.

    Attributes:
        choice: its name in the repository. context: tokens of a conversation that this is for.
    """

    choice: str
    verdict: Literal["fits", "fits if", "does not fit"]
    remedy: str
    ram: int
    tokens: float
    low: float
    high: float
    context: int


class RepositoryFits(Struct, kw_only=True):
    """GET /api/hub/fits/OWNER/NAME. `notice`: one sentence where some models could not be computed."""

    fits: list[Fit]
    notice: str = ""
