"""The system's own store of secrets: Keychain on macOS, the Credential Manager of Windows, the Secret Service on Linux.

Through the package `keyring`, but never by its own choice of a place: that could be a file in plain text which some
other package brought, or whatever a configuration file names. On Linux the Secret Service is spoken by GNOME Keyring,
KeePassXC, and KWallet since KDE Frameworks 5.97; a machine without a desktop usually has none.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from backend.api.errors import StorageError

__all__ = ["PATIENCE_S", "SWITCH", "Vault", "vault"]

T = TypeVar("T")
#: set to "off": the keyring is never asked
SWITCH = "NUTSHELL_KEYRING"
#: what the entries are called in the system's own list of passwords
SERVICE = "Nutshell (model hub)"
#: seconds for an answer: a locked keyring asks the person for its password first
PATIENCE_S = 60.0


class _Backend(Protocol):
    """What of `keyring.backend.KeyringBackend` is used."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


class Vault:
    """A store of secrets, each under an account. No secret is ever in an error or a log."""

    def __init__(self, name: str, backend: _Backend) -> None:
        """Args:
        name: of the store, for people.
        backend: of `keyring`.
        """
        self.name = name
        self._backend = backend

    def read(self, account: str) -> str | None:
        """The secret, or None. Raises StorageError: locked, or it does not answer."""
        return self._limited("read", lambda: self._backend.get_password(SERVICE, account))

    def keep(self, account: str, secret: str) -> None:
        """Keeps it, in the place of another. Raises StorageError."""
        self._limited("kept", lambda: self._backend.set_password(SERVICE, account, secret))

    def forget(self, account: str) -> None:
        """Deletes it; nothing where there is none. Raises StorageError."""

        def delete() -> None:
            if self._backend.get_password(SERVICE, account) is not None:
                self._backend.delete_password(SERVICE, account)

        self._limited("deleted", delete)

    def _limited(self, doing: str, call: Callable[[], T]) -> T:
        """A thread of its own: a dialog that nobody sees must not hold up whoever asks."""
        answers: list[T] = []
        failures: list[BaseException] = []

        def work() -> None:
            try:
                answers.append(call())
            except BaseException as error:  # noqa: BLE001 - of four systems' libraries; told below
                failures.append(error)

        thread = threading.Thread(target=work, name="keyring", daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        if answers:
            return answers[0]
        if failures:
            why, details = f"{self.name} refused, or it is locked.", type(failures[0]).__name__
        else:
            why, details = f"{self.name} did not answer within {PATIENCE_S:.0f} seconds.", ""
        raise StorageError(
            f"The token could not be {doing}.", why=why, remedy="Unlock it, then try again.", details=details
        )


def vault() -> tuple[Vault | None, str]:
    """The store of this system; or None, and one sentence why there is none. Takes some 50 ms the first time."""
    if os.environ.get(SWITCH, "").lower() == "off":
        return None, f"{SWITCH} switches the system's keyring off."
    try:
        return _of_this_system(), ""
    except ImportError:
        return None, "The package keyring is not installed."
    except Exception as error:  # noqa: BLE001 - `viable` raises RuntimeError and what D-Bus raises
        if sys.platform in ("darwin", "win32"):
            return None, f"The system's keyring cannot be used ({type(error).__name__})."
        return None, "No program here offers a keyring (the Secret Service, as GNOME Keyring, KWallet or KeePassXC do)."


def _of_this_system() -> Vault:
    """Raises what says that there is none."""
    if sys.platform == "darwin":
        from keyring.backends import macOS

        _ = macOS.Keyring.priority  # raises where it cannot be used
        return Vault("Keychain", macOS.Keyring())
    if sys.platform == "win32":
        from keyring.backends import Windows

        _ = Windows.WinVaultKeyring.priority
        return Vault("Windows Credential Manager", Windows.WinVaultKeyring())
    from keyring.backends import SecretService

    _ = SecretService.Keyring.priority
    return Vault("Secret Service", SecretService.Keyring())  # type: ignore[no-untyped-call]
