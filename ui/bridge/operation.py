"""One request to the engine, from a widget's point of view: started, then success or failure, never an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from backend.api.errors import NutshellError
from backend.api.schemas import ErrorInfo

__all__ = ["Operation", "error_info"]

T = TypeVar("T")


def error_info(error: BaseException) -> ErrorInfo:
    """Turn any exception into the words that a person is shown."""
    if isinstance(error, NutshellError):
        return ErrorInfo.of(error)
    return ErrorInfo(
        code="internal_error",
        what="Something went wrong inside the window.",
        remedy="Try again. If it happens again, the details below help to find the cause.",
        details=f"{type(error).__name__}: {error}",
    )


class Operation(Generic[T]):
    """A coroutine that runs as a task of the Qt event loop.

    `success` is called with the result, or `failure` with an `ErrorInfo`; after `cancel` neither is. A fault in
    `success` itself counts as a failure too, so that no exception is ever left to the event loop.
    """

    def __init__(
        self,
        request: Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        success: Callable[[T], object] | None = None,
        failure: Callable[[ErrorInfo], object] | None = None,
        finished: Callable[[Operation[T]], object] | None = None,
    ) -> None:
        self._request = request
        self._success = success
        self._failure = failure
        self._finished = finished
        self._task = loop.create_task(self._run())

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._task.done()

    @property
    def task(self) -> asyncio.Task[None]:
        """The task, for those who wait for the end."""
        return self._task

    def cancel(self) -> None:
        """Stop waiting for the answer; the engine may still carry the request out."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            result = await self._request
            if self._success is not None:
                self._success(result)
        except Exception as error:  # noqa: BLE001 - the one place where every failure becomes words
            if self._failure is not None:
                self._failure(error_info(error))
        finally:
            self._request.close()
            if self._finished is not None:
                self._finished(self)
