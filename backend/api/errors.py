"""Every error that a person or another program may be shown.

    NutshellError                       something the user should read
    ├── InvalidRequestError        400  a field is missing, out of range, or of the wrong type
    │   ├── ContextOverflowError   400  the text does not fit the context window
    │   ├── GrammarError           400  a JSON schema or grammar that cannot be used
    │   ├── MethodError            405  the address exists, but not for this HTTP method
    │   ├── RequestTooLargeError   413  the body is larger than the server takes
    │   └── MediaTypeError         415  the body is not declared as JSON
    ├── UnauthorizedError          401  no key, or the wrong one
    ├── ForbiddenError             403  Host or Origin is not ours
    ├── NotFoundError              404  no such conversation, message, model, job
    ├── ConflictError              409  not now: the thing is in use, or in another state
    │   ├── NoModelError           409  no model is loaded
    │   ├── PortInUseError         409  another program listens on the port
    │   └── PackagesMissingError   409  what this needs is not installed
    ├── BusyError                  429  too many requests wait already
    ├── ModelError                 422
    │   ├── InvalidModelFileError  422  the file is damaged, truncated, or not a model
    │   ├── UnsupportedModelError  422  a good file that this engine cannot run
    │   └── ModelLoadError         422  the engine refused a file that looked right
    ├── TemplateError              422  a chat template that cannot be rendered
    ├── MemoryShortageError        507  it does not fit in memory
    ├── StorageError               500
    │   ├── DiskFullError          507
    │   ├── ReadOnlyError          500  the data folder cannot be written
    │   └── DatabaseDamagedError   500
    ├── NetworkError               502  another machine cannot be reached, or answers nonsense
    │   ├── OfflineError           409  Nutshell was told to stay off the network
    │   ├── AccessError            403  the hub wants an account, or a licence accepted
    │   └── DamagedDownloadError   502  what arrived is not what was announced
    └── EngineUnavailableError     503  the engine process is not there (raised on the client's side)

An error says what happened, why, and what to do; each part is one plain sentence or empty. `details` is for the log
and for a fold-out, never for the first line.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BY_CODE",
    "AccessError",
    "BusyError",
    "ConflictError",
    "ContextOverflowError",
    "DamagedDownloadError",
    "DatabaseDamagedError",
    "DiskFullError",
    "EngineUnavailableError",
    "ForbiddenError",
    "GrammarError",
    "InvalidModelFileError",
    "InvalidRequestError",
    "MediaTypeError",
    "MemoryShortageError",
    "MethodError",
    "ModelError",
    "ModelLoadError",
    "NetworkError",
    "NoModelError",
    "NotFoundError",
    "NutshellError",
    "OfflineError",
    "PackagesMissingError",
    "PortInUseError",
    "ReadOnlyError",
    "RequestTooLargeError",
    "StorageError",
    "TemplateError",
    "UnauthorizedError",
    "UnsupportedModelError",
]


class NutshellError(Exception):
    """The root: a failure with words for the person in front of the screen.

    Attributes:
        what: one sentence that says what happened.
        why: one sentence with the cause, or "".
        remedy: one sentence that says what to do, or "".
        details: raw text for the log (engine output, exception text), or "".
        code: stable snake_case name on the wire. status: HTTP status.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, what: str, *, why: str = "", remedy: str = "", details: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.remedy = remedy
        self.details = details

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.why, self.remedy) if part)


class InvalidRequestError(NutshellError):
    """A field is missing, out of range, or of the wrong type."""

    code = "invalid_request"
    status = 400


class ContextOverflowError(InvalidRequestError):
    """The text does not fit the context window."""

    code = "context_length_exceeded"


class GrammarError(InvalidRequestError):
    """A JSON schema or grammar that cannot be used."""

    code = "invalid_grammar"


class MethodError(InvalidRequestError):
    """The address exists, but not for this HTTP method."""

    code = "method_not_allowed"
    status = 405


class RequestTooLargeError(InvalidRequestError):
    """The body is larger than the server takes."""

    code = "request_too_large"
    status = 413


class MediaTypeError(InvalidRequestError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"
    status = 415


class UnauthorizedError(NutshellError):
    """No key, or the wrong one."""

    code = "unauthorized"
    status = 401


class ForbiddenError(NutshellError):
    """Host or Origin is not ours."""

    code = "forbidden"
    status = 403


class NotFoundError(NutshellError):
    """No such conversation, message, model or job."""

    code = "not_found"
    status = 404


class ConflictError(NutshellError):
    """Not now: the thing is in use, or in another state."""

    code = "conflict"
    status = 409


class NoModelError(ConflictError):
    """No model is loaded."""

    code = "no_model"


class PortInUseError(ConflictError):
    """Another program listens on the port."""

    code = "port_in_use"


class PackagesMissingError(ConflictError):
    """The packages that making models smaller needs are not installed."""

    code = "packages_missing"


class BusyError(NutshellError):
    """Too many requests wait already."""

    code = "too_busy"
    status = 429


class ModelError(NutshellError):
    """A model cannot be used."""

    code = "model_error"
    status = 422


class InvalidModelFileError(ModelError):
    """The file is damaged, truncated, or not a model."""

    code = "invalid_model_file"


class UnsupportedModelError(ModelError):
    """A good file that this engine cannot run."""

    code = "unsupported_model"


class ModelLoadError(ModelError):
    """The engine refused a file that looked right."""

    code = "model_load_failed"


class TemplateError(NutshellError):
    """A chat template that cannot be rendered."""

    code = "template_error"
    status = 422


class MemoryShortageError(NutshellError):
    """It does not fit in memory."""

    code = "out_of_memory"
    status = 507


class StorageError(NutshellError):
    """The conversations cannot be read or written."""

    code = "storage_error"


class DiskFullError(StorageError):
    """No room on the disk that holds the conversations."""

    code = "disk_full"
    status = 507


class ReadOnlyError(StorageError):
    """The data folder cannot be written."""

    code = "read_only"


class DatabaseDamagedError(StorageError):
    """The database file is damaged."""

    code = "database_damaged"


class NetworkError(NutshellError):
    """Another machine cannot be reached, or answers nonsense."""

    code = "network_error"
    status = 502


class OfflineError(NetworkError):
    """Nutshell was told to stay off the network."""

    code = "offline"
    status = 409


class AccessError(NetworkError):
    """The hub wants an account, or a licence accepted."""

    code = "access_denied"
    status = 403


class DamagedDownloadError(NetworkError):
    """What arrived is not what was announced."""

    code = "damaged_download"


class EngineUnavailableError(NutshellError):
    """The engine process is not there."""

    code = "engine_unavailable"
    status = 503


def _tree(root: type[NutshellError]) -> dict[str, type[NutshellError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


#: wire code -> class, so that the client raises what the server raised.
BY_CODE: dict[str, type[NutshellError]] = _tree(NutshellError)
