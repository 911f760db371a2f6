"""Files and prompts of `FakeClient`."""

from __future__ import annotations

from copy import deepcopy
from itertools import count
from pathlib import Path

from msgspec import UNSET

from backend.api.errors import NotFoundError
from backend.api.schemas import Attachment, HeldFile, NewFile, NewPrompt, Prompt, PromptUpdate

__all__ = ["FakeComposing"]

_ids = count(1)
_KINDS = {".png": "image/png", ".pdf": "application/pdf", ".csv": "text/csv"}


class FakeComposing:
    """Holds files without reading them: 4 bytes are a token.

    Attributes:
        sizes: name -> bytes that a file is said to have.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.held: dict[str, tuple[HeldFile, NewFile]] = {}
        self.contents: dict[str, bytes] = {}  # attachment id -> bytes
        self.texts: dict[str, Attachment] = {}  # attachment id -> with its text
        self.prompt_list: list[Prompt] = []

    def _called(self, method: str, argument: object = None) -> None:
        raise NotImplementedError

    async def add_file(self, new: NewFile) -> HeldFile:
        self._called("add_file", new)
        name = Path(new.path).name if new.path else new.name
        mime = _KINDS.get(Path(name).suffix, "text/plain")
        size = self.sizes.get(name, len(new.data or new.text.encode()) or 1200)
        held = HeldFile(
            id=f"f{next(_ids):031x}", name=name, mime=mime, size=size,
            tokens=14 if mime.startswith("image/") else size // 4, counted=True,
        )  # fmt: skip
        self.held[held.id] = (held, new)
        return deepcopy(held)

    async def held_files(self) -> list[HeldFile]:
        self._called("held_files")
        return [deepcopy(held) for held, _ in self.held.values()]

    async def drop_file(self, held_id: str) -> None:
        self._called("drop_file", held_id)
        self.held.pop(held_id, None)

    def given(self, held_ids: list[str], message_id: str) -> list[Attachment]:
        """What held files become when their message is sent."""
        made = []
        for held_id in held_ids:
            if held_id not in self.held:
                raise NotFoundError("An attached file is not there any more.", remedy="Attach it again.")
            held, new = self.held.pop(held_id)
            made.append(Attachment(id=held.id, message_id=message_id, name=held.name, mime=held.mime, size=held.size))
            self.contents[held.id] = new.data or new.text.encode()
        return made

    async def attachment(self, attachment_id: str) -> Attachment:
        self._called("attachment", attachment_id)
        return deepcopy(self.texts[attachment_id])

    async def attachment_content(self, attachment_id: str) -> bytes:
        self._called("attachment_content", attachment_id)
        return self.contents[attachment_id]

    async def prompts(self) -> list[Prompt]:
        self._called("prompts")
        return deepcopy(sorted(self.prompt_list, key=lambda one: one.name.lower()))

    async def create_prompt(self, new: NewPrompt) -> Prompt:
        self._called("create_prompt", new)
        made = Prompt(id=f"p{next(_ids):031x}", name=new.name, text=new.text)
        self.prompt_list.append(made)
        return deepcopy(made)

    async def update_prompt(self, prompt_id: str, update: PromptUpdate) -> Prompt:
        self._called("update_prompt", (prompt_id, update))
        prompt = next(one for one in self.prompt_list if one.id == prompt_id)
        if update.name is not UNSET:
            prompt.name = str(update.name)
        if update.text is not UNSET:
            prompt.text = str(update.text)
        return deepcopy(prompt)

    async def delete_prompt(self, prompt_id: str) -> None:
        self._called("delete_prompt", prompt_id)
        self.prompt_list = [one for one in self.prompt_list if one.id != prompt_id]
