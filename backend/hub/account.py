"""Whom the hub takes us for: the token, where it is kept, and to which machine alone it may go.

In this order: HF_TOKEN of the environment; what was entered in Nutshell, which lies in the system's keyring and nowhere
else; what `hf auth login` left on this machine. A token that was entered belongs to the endpoint that was asked then: a
mirror that HF_ENDPOINT names later never sees it. Which endpoints have one is noted in a file without the tokens, so
that a keyring is not opened for the many people who have none.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from backend.api.errors import InvalidRequestError, NutshellError, StorageError
from backend.config.paths import paths
from backend.hub.keychain import vault

__all__ = ["TokenInfo", "endpoint", "forget", "keep", "may_carry", "state", "token"]

logger = logging.getLogger(__name__)
_HUB = "https://huggingface.co"
#: printable and without spaces, as it becomes part of a header; the hub's own have 37 characters
_TOKEN = re.compile(r"[\x21-\x7e]{8,512}")
_NOTED = "hub-tokens.json"
_OF_THE_ENVIRONMENT = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE")
Source = Literal["environment", "keyring", "login", "none"]


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """Where the token comes from; never the token.

    Attributes:
        source: "none" where nobody is logged in.
        endpoint: that it is for. keyring: name of the system's keyring, "" where there is none.
        why: one sentence where there is no keyring, or where it could not be read.
    """

    source: Source
    endpoint: str
    keyring: str
    why: str


class _Remembered:
    """What the keyring said, until the note changes. One thread asks at a time: each may open a dialog."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.key: tuple[str, int] | None = None
        self.token: str | None = None
        self.why = ""


_remembered = _Remembered()


def endpoint() -> str:
    """The hub that is asked: HF_ENDPOINT, else huggingface.co. Without a slash at the end."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB


def may_carry(url: str) -> bool:
    """Whether a request to `url` may have a token with it: only one to the very endpoint."""
    return _origin(url) == _origin(endpoint())


def token() -> str | None:
    """The token for the endpoint; None for nobody. May wait for a person who unlocks the keyring."""
    return _token()[0]


def state() -> TokenInfo:
    """Where the token comes from. Asks a keyring that could not be read once more."""
    with _remembered.lock:
        if _remembered.why:
            _remembered.key = None
    found, source, why = _token()
    known, missing = vault()
    return TokenInfo(source if found else "none", endpoint(), known.name if known is not None else "", why or missing)


def keep(secret: str) -> TokenInfo:
    """Puts a token for the endpoint into the system's keyring.

    Raises:
        InvalidRequestError: it cannot be a token, or it would travel unencrypted.
        StorageError: there is no keyring, or it refuses; then nothing is kept anywhere.
    """
    secret = secret.strip()
    if _TOKEN.fullmatch(secret) is None:
        raise InvalidRequestError(
            "This is not an access token.",
            why="A token is one word of letters, digits and signs.",
            remedy="Copy it whole from the page of your account under Access Tokens; it begins with hf_.",
        )
    if not _encrypted(endpoint()):
        raise InvalidRequestError(
            "No token is kept for this hub.",
            why=f"{endpoint()} is asked without encryption, so everybody on the way could read it.",
            remedy="Set HF_ENDPOINT to an address that begins with https://.",
        )
    known, why = vault()
    if known is None:
        raise StorageError(
            "The token was not kept.",
            why=why,
            remedy="Nutshell writes no secret into a file of its own: set HF_TOKEN instead, or log in with "
            "`hf auth login`, which keeps it in a file that it protects.",
        )
    known.keep(endpoint(), secret)
    _note(endpoint(), here=True)
    return state()


def forget() -> TokenInfo:
    """Deletes the token of the endpoint from the keyring; nothing where there is none. Raises StorageError."""
    known, _ = vault()
    if known is not None:
        known.forget(endpoint())
    _note(endpoint(), here=False)
    return state()


def _token() -> tuple[str | None, Source, str]:
    """(token, where from, why the keyring could not be read)."""
    if any(os.environ.get(name) for name in _OF_THE_ENVIRONMENT):
        return _of_the_client(), "environment", ""
    kept, why = _kept()
    return (kept, "keyring", "") if kept else (_of_the_client(), "login", why)


def _of_the_client() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _kept() -> tuple[str | None, str]:
    """What lies in the keyring for the endpoint, and why it could not be read."""
    path = _note_path()
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None, ""
    with _remembered.lock:
        key = (endpoint(), changed)
        if _remembered.key == key:
            return _remembered.token, _remembered.why
        found, why = None, ""
        if endpoint() in _noted(path):
            try:
                known, why = vault()
                found = known.read(endpoint()) if known is not None else None
            except NutshellError as error:
                why = f"{error.why} {error.remedy}"
            if why:
                logger.warning("the token in the keyring cannot be read: %s", why)
        _remembered.key, _remembered.token, _remembered.why = key, found, why
        return found, why


def _note_path() -> Path:
    return paths().data / _NOTED


def _noted(path: Path) -> list[str]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return [one for one in read if isinstance(one, str)] if isinstance(read, list) else []


def _note(hub: str, *, here: bool) -> None:
    """Remembers whether the keyring has a token for this hub."""
    path = _note_path()
    noted = [one for one in _noted(path) if one != hub] + ([hub] if here else [])
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if not here and not path.exists():
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_text(json.dumps(noted), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise StorageError(
            "It could not be noted that there is a token.",
            why=f"The system says: {error.strerror}.",
            remedy=f"Allow writing to {path.parent}.",
        ) from error
    with _remembered.lock:
        _remembered.key = None  # two changes may fall into one tick of the file system's clock


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or usual


def _encrypted(url: str) -> bool:
    """Over TLS, or not leaving this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return parts.scheme == "https" or local
