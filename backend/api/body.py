"""Request bodies as checked values."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from starlette.requests import Request

from backend.api.errors import InvalidRequestError
from backend.api.failures import FieldError

__all__ = ["body", "flag"]

T = TypeVar("T")

# msgspec ends its sentences with " - at `$.messages[0].role`".
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


async def body(request: Request, kind: type[T]) -> T:
    """The request's body as a `kind`. Raises FieldError with the field that is wrong, InvalidRequestError otherwise."""
    raw = await request.body()
    if not raw:
        raise InvalidRequestError("The request has no body.", remedy="Send a JSON object.")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _PATH.search(text)
        path = found["path"] if found else None
        why = text[: found.start()] if found else text
        where = f"The field '{path}' cannot be used." if path else "The request cannot be used."
        raise FieldError(where, param=path or None, why=f"{why}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError("The body is not valid JSON.", why=f"{error}.") from error


def flag(request: Request, name: str) -> bool:
    """A yes-or-no query parameter, no by default. Raises FieldError."""
    value = request.query_params.get(name, "").lower()
    if value in ("", "0", "false", "no"):
        return False
    if value in ("1", "true", "yes"):
        return True
    raise FieldError(f"'{name}' must be true or false.", param=name)
