"""Errors as HTTP responses: our own shape for /api, OpenAI's for /v1."""

from __future__ import annotations

import logging

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from backend.api.errors import InvalidRequestError, MethodError, NotFoundError, NutshellError
from backend.api.schemas import ErrorInfo

__all__ = ["FieldError", "Json", "failure", "on_exception", "openai_error"]

logger = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class Json(Response):
    """A response whose body is a msgspec-encodable value."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """UTF-8 JSON."""
        return _encoder.encode(content)


class FieldError(InvalidRequestError):
    """An invalid request of which the field is known: OpenAI's errors name it as `param`."""

    def __init__(self, what: str, *, param: str | None, why: str = "", remedy: str = "", details: str = "") -> None:
        super().__init__(what, why=why, remedy=remedy, details=details)
        self.param = param


class OpenAIError(msgspec.Struct, kw_only=True):
    """The inner object of OpenAI's error shape."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class _OpenAIErrorBody(msgspec.Struct):
    error: OpenAIError


class _ErrorBody(msgspec.Struct):
    error: ErrorInfo


def unexpected(error: BaseException) -> NutshellError:
    """The sentence for a failure that nobody foresaw; the details go to the log's reader."""
    return NutshellError(
        "Something went wrong inside the engine.",
        why="This is a fault in Nutshell, not in what you did.",
        remedy="Try again; if it happens again, the log in the data folder helps to find the cause.",
        details=f"{type(error).__name__}: {error}",
    )


def openai_error(error: NutshellError) -> _OpenAIErrorBody:
    """The error object that OpenAI's clients expect."""
    if error.status == 401:
        kind = "authentication_error"
    elif error.status == 403:
        kind = "permission_error"
    elif error.status == 429:
        kind = "rate_limit_error"
    elif error.status >= 500:
        kind = "server_error"
    else:
        kind = "invalid_request_error"
    param = error.param if isinstance(error, FieldError) else None
    return _OpenAIErrorBody(OpenAIError(message=str(error), type=kind, param=param, code=error.code))


def failure(error: NutshellError, path: str, headers: dict[str, str] | None = None) -> Json:
    """The response for `error` in the shape that belongs to `path`."""
    headers = dict(headers or {})
    headers["cache-control"] = "no-store"
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if path == "/v1" or path.startswith("/v1/"):
        if error.status != 429:
            # OpenAI's clients repeat a request after 409 and 5xx. Ours say what to do first (load a model, make room),
            # so a repeat would only delay the sentence.
            headers["x-should-retry"] = "false"
        return Json(openai_error(error), status_code=error.status, headers=headers)
    return Json(_ErrorBody(ErrorInfo.of(error)), status_code=error.status, headers=headers)


def on_exception(request: Request, exc: Exception) -> Response:
    """Starlette's handler for everything that a route raises."""
    path = request.url.path
    if isinstance(exc, NutshellError):
        if exc.status >= 500:
            logger.error("%s %s: %s [%s]", request.method, path, exc, exc.details)
        return failure(exc, path)
    if isinstance(exc, HTTPException):
        if exc.status_code == 405:
            allowed = _methods(request)
            return failure(
                MethodError(
                    f"{path} does not take {request.method}.", remedy=f"It takes {allowed}." if allowed else ""
                ),
                path,
                {"allow": allowed} if allowed else None,
            )
        return failure(NotFoundError(f"There is nothing at {path}."), path)
    return failure(unexpected(exc), path)


def _methods(request: Request) -> str:
    """What the routes at this path take; Starlette itself names the first route's methods only, and HEAD."""
    found: set[str] = set()
    for route in request.scope["router"].routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= route.methods or set()
    return ", ".join(sorted(found - {"HEAD"}))
