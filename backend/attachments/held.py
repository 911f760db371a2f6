"""Files that were attached to a message that is not sent yet. They are in memory only; the window brings them again
when the engine had to be started anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backend.api.errors import InvalidRequestError, NotFoundError
from backend.api.schemas import Attachment, HeldFile, NewFile
from backend.storage.attachments import MAX_ATTACHMENT, too_large

from .frame import framed
from .reader import read_apart

__all__ = ["HeldFiles"]

#: Files that wait at once; the oldest go. Nobody reads fifty files into one message.
MOST_FILES: Final = 50
#: a token of prose has about four characters, of code three and a half
_CHARACTERS_PER_TOKEN: Final = 4


@dataclass(slots=True)
class _Held:
    name: str
    mime: str
    text: str
    content: bytes
    counts: dict[str, int] = field(default_factory=dict)  # model -> tokens


class HeldFiles:
    """Reads files, counts their tokens, and keeps them until they are sent.

    Args:
        count: tokens of a text under the loaded model.
        model: what tells one loaded model from another; "" while none is loaded.
    """

    def __init__(self, count: Callable[[str], Awaitable[int]], model: Callable[[], str]) -> None:
        self._count, self._model = count, model
        self._files: dict[str, _Held] = {}

    async def add(self, new: NewFile) -> HeldFile:
        """Reads a file. Raises InvalidRequestError with words about what is wrong with it."""
        name, content = await asyncio.to_thread(_content, new)
        if len(content) > MAX_ATTACHMENT:
            raise too_large(len(content))
        document = await read_apart(name, content)
        held_id = os.urandom(16).hex()
        self._files[held_id] = _Held(name, document.mime, document.text, content)
        for oldest in list(self._files)[:-MOST_FILES]:
            del self._files[oldest]
        return await self._told(held_id)

    async def waiting(self) -> list[HeldFile]:
        """What is held, with its tokens under the model that is loaded now."""
        return [await self._told(held_id) for held_id in list(self._files)]

    def drop(self, held_id: str) -> None:
        """Forgets a file; one that is not there is no error."""
        self._files.pop(held_id, None)

    def take(self, held_ids: Sequence[str]) -> list[tuple[str, str, str, bytes]]:
        """(name, mime, text, content) of files that are sent now; `drop` them when they are stored.

        Raises NotFoundError where one is gone.
        """
        missing = [held_id for held_id in held_ids if held_id not in self._files]
        if missing:
            raise NotFoundError("An attached file is not there any more.", remedy="Attach it again.")
        found = [self._files[held_id] for held_id in held_ids]
        return [(one.name, one.mime, one.text, one.content) for one in found]

    async def _told(self, held_id: str) -> HeldFile:
        one, model = self._files[held_id], self._model()
        shown = framed([Attachment(id="", message_id="", name=one.name, mime=one.mime, size=0, text=one.text)], "")
        if model and model not in one.counts:
            one.counts[model] = await self._count(shown)
        tokens = one.counts.get(model) if model else None
        return HeldFile(
            id=held_id,
            name=one.name,
            mime=one.mime,
            size=len(one.content),
            tokens=len(shown) // _CHARACTERS_PER_TOKEN if tokens is None else tokens,
            counted=tokens is not None,
        )


def _content(new: NewFile) -> tuple[str, bytes]:
    """Name and bytes; of a file on the disk no more than may be attached."""
    if new.path is None:
        return new.name or "Pasted text.txt", new.data if new.data is not None else new.text.encode()
    path = Path(new.path)
    try:
        if not path.is_file():  # folders, and pipes and devices, which would be read for ever
            raise InvalidRequestError(
                f"{path.name} cannot be attached.", why="It is not a file.", remedy="Choose a file."
            )
        with path.open("rb") as file:
            return path.name, file.read(MAX_ATTACHMENT + 1)
    except OSError as error:
        raise InvalidRequestError(
            f"{path.name} cannot be read.", why=f"{error.strerror or error}.", remedy="Choose another file."
        ) from error
