"""The one place through which anything leaves this machine: whether it may, for what, and what was said to whom.

Everything that asks another machine does so with a client from here, `huggingface_hub` too. A client knows its purpose;
each of its requests, redirects included, is refused while Nutshell is offline or the purpose is switched off, and is
kept in a short log that Settings shows. Addresses in the log have neither query nor account in them. A token leaves
with a request to the hub's own address only, whatever asked for it: a redirect, or the "next" link of a list.
"""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from backend.api.errors import NetworkError, OfflineError
from backend.config.settings import Settings
from backend.hub.account import may_carry

if TYPE_CHECKING:
    import httpx2

__all__ = ["NETWORK", "PURPOSES", "Call", "Network", "Purpose", "at_most", "obey"]

Purpose = Literal["models"]

#: every reason for which Nutshell ever calls another machine, in words for Settings
PURPOSES: dict[Purpose, str] = {
    "models": "Finding and downloading models, when you ask for one",
}
_KEPT = 500
#: requests that may still be made by what runs now; None: any number
_left: ContextVar[int | None] = ContextVar("left", default=None)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `status` is 0 where it was refused here or got no answer."""

    at: float
    purpose: Purpose
    method: str
    host: str
    path: str
    status: int


class Network:
    """Switches, the log, and clients that obey. Thread-safe.

    Attributes:
        offline: nothing leaves the machine. Also set by HF_HUB_OFFLINE, as other programs understand it.
    """

    def __init__(self, *, offline: bool = False, off: Iterable[Purpose] = (), silence_s: float = 10.0) -> None:
        """Args:
        offline: see above.
        off: purposes that are switched off.
        silence_s: seconds without a byte after which a line counts as dead.
        """
        self.offline = offline
        self._silence_s = silence_s
        self._clients: dict[Purpose, httpx2.Client] = {}
        self._off = set(off)
        self._lock = threading.Lock()
        self._calls: collections.deque[Call] = collections.deque(maxlen=_KEPT)

    def calls(self) -> list[Call]:
        """What was asked of other machines since the start, newest first; the last 500."""
        with self._lock:
            return list(reversed(self._calls))

    def allow(self, purpose: Purpose, allowed: bool) -> None:
        """The switch of one purpose."""
        with self._lock:
            self._off.discard(purpose) if allowed else self._off.add(purpose)

    def allowed(self, purpose: Purpose) -> bool:
        """Whether it is switched on; says nothing about `offline`."""
        return purpose not in self._off

    def check(self, purpose: Purpose) -> None:
        """Raises OfflineError where this may not be asked for now."""
        if self.offline or os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
            raise OfflineError(
                "Nutshell is offline.",
                why="Offline mode is on, so nothing leaves this machine.",
                remedy="Switch it off in Settings under Network.",
            )
        if not self.allowed(purpose):
            raise OfflineError(
                "Nutshell may not use the network for this.",
                why=f"“{PURPOSES[purpose]}” is switched off.",
                remedy="Switch it on in Settings under Network.",
            )

    def client(self, purpose: Purpose) -> httpx2.Client:
        """The client for a purpose, with the system's trust store and proxies (HTTPS_PROXY, NO_PROXY)."""
        with self._lock:
            known = self._clients.get(purpose)
            if known is None or known.is_closed:
                known = self._clients[purpose] = self._new_client(purpose)
            return known

    def _new_client(self, purpose: Purpose) -> httpx2.Client:
        import httpx2  # trusts what the system trusts, by itself

        def asked(request: httpx2.Request) -> None:
            try:
                self.check(purpose)
            except OfflineError:
                self._note(purpose, request, 0)
                raise
            left = _left.get()
            if left is not None:
                if left <= 0:
                    raise NetworkError(
                        "The hub's answer does not end.",
                        why="It goes on on ever more pages.",
                        remedy="Search for other words, or name another hub with HF_ENDPOINT.",
                    )
                _left.set(left - 1)
            if "Authorization" in request.headers and not may_carry(str(request.url)):
                del request.headers["Authorization"]

        def answered(response: httpx2.Response) -> None:
            self._note(purpose, response.request, response.status_code)

        return httpx2.Client(
            event_hooks={"request": [asked], "response": [answered]},
            follow_redirects=True,
            timeout=httpx2.Timeout(self._silence_s, pool=None),
        )

    def _note(self, purpose: Purpose, request: httpx2.Request, status: int) -> None:
        call = Call(time.time(), purpose, request.method, request.url.host, request.url.path, status)
        with self._lock:
            self._calls.append(call)


@contextlib.contextmanager
def at_most(requests: int) -> Iterator[None]:
    """What runs in this context makes so many requests, redirects included, and then fails with a NetworkError: a list
    whose pages are empty and always name a next one would be read for ever.
    """
    token = _left.set(requests)
    try:
        yield
    finally:
        _left.reset(token)


#: of this process
NETWORK = Network()


def obey(settings: Settings, network: Network = NETWORK) -> None:
    """Sets the switches as the person left them."""
    network.offline = settings.offline
    network.allow("models", settings.network_models)
