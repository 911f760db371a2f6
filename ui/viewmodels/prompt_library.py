"""Prompts that are kept: read, changed, filled in, taken from a file and written into one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import QObject, Signal

from backend.api.schemas import ErrorInfo, NewPrompt, Prompt, PromptUpdate
from ui.bridge.engine_link import EngineLink

__all__ = ["FORMAT", "PromptLibrary", "fill", "places", "read_prompts", "write_prompts"]

FORMAT: Final = "nutshell-prompts"
_PLACE: Final = re.compile(r"\{\{\s*([^{}\n]{1,60}?)\s*\}\}")
_MOST_BYTES: Final = 8 << 20
_MOST_PROMPTS: Final = 2_000
_LONGEST_NAME: Final = 200


def places(text: str) -> list[str]:
    """The names in `{{name}}`, each once, in the order in which they first stand there."""
    return list(dict.fromkeys(_PLACE.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its places filled in; one without a value stays as it is. Values are not looked through again."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), text)


def write_prompts(prompts: list[Prompt]) -> str:
    """Prompts as the text of a file."""
    data = {"format": FORMAT, "version": 1, "prompts": [{"name": one.name, "text": one.text} for one in prompts]}
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def read_prompts(raw: bytes) -> list[NewPrompt]:
    """The prompts of a file: ours, or a list of objects with a name or title and a text, prompt or content.

    Raises ValueError: it holds none.
    """
    found = json.loads(raw)
    several = found.get("prompts") if isinstance(found, dict) else found
    made = [one for one in map(_prompt, several if isinstance(several, list) else []) if one is not None]
    if not made:
        raise ValueError("it holds no prompts")
    return made[:_MOST_PROMPTS]


def _prompt(value: object) -> NewPrompt | None:
    part: dict[str, Any] = value if isinstance(value, dict) else {}
    name = next((part[key] for key in ("name", "title") if isinstance(part.get(key), str)), "")
    text = next((part[key] for key in ("text", "prompt", "content") if isinstance(part.get(key), str)), "")
    name = " ".join((name or text[:60]).split())[:_LONGEST_NAME]
    return NewPrompt(name=name, text=text) if text.strip() else None


class PromptLibrary(QObject):
    """The prompts of the engine's database.

    Signals:
        changed: they are others now. problem(ErrorInfo): something could not be done. said(str): a word of what was.
    """

    changed = Signal()
    problem = Signal(object)
    said = Signal(str)

    def __init__(self, link: EngineLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self._prompts: list[Prompt] = []

    def prompts(self) -> list[Prompt]:
        """All of them, by name, as they were last read."""
        return list(self._prompts)

    def refresh(self) -> None:
        """Read them again."""
        if self._link.ready:
            self._link.run(lambda engine: engine.prompts(), success=self._have, failure=self.problem.emit)

    def create(self, name: str, text: str) -> None:
        """Keep a new one."""
        self._link.run(
            lambda engine: engine.create_prompt(NewPrompt(name=name, text=text)),
            success=lambda _made: self.refresh(),
            failure=self.problem.emit,
        )

    def update(self, prompt_id: str, name: str, text: str) -> None:
        """Change one."""
        self._link.run(
            lambda engine: engine.update_prompt(prompt_id, PromptUpdate(name=name, text=text)),
            success=lambda _made: self.refresh(),
            failure=self.problem.emit,
        )

    def delete(self, prompt_id: str) -> None:
        """Remove one."""
        self._link.run(
            lambda engine: engine.delete_prompt(prompt_id),
            success=lambda _none: self.refresh(),
            failure=self.problem.emit,
        )

    def export_file(self, path: str) -> None:
        """Write all into a file."""
        try:
            Path(path).write_text(write_prompts(self._prompts), encoding="utf-8")
        except OSError as error:
            what = self.tr("{0} could not be written.").format(Path(path).name)
            self.problem.emit(ErrorInfo(code="storage_error", what=what, why=f"{error.strerror or error}."))
        else:
            self.said.emit(self.tr("Saved as {0}.").format(Path(path).name))

    def import_file(self, path: str) -> None:
        """Take in those of a file that are not there already."""
        try:
            with Path(path).open("rb") as file:
                found = read_prompts(file.read(_MOST_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            what = self.tr("{0} holds no prompts that can be read.").format(Path(path).name)
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.problem.emit(ErrorInfo(code="invalid_request", what=what, why=f"{why}."))
            return
        known = {(one.name, one.text) for one in self._prompts}
        fresh = [one for one in found if (one.name, one.text) not in known]

        async def take(engine: Any) -> list[Prompt]:
            for one in fresh:
                await engine.create_prompt(one)
            prompts: list[Prompt] = await engine.prompts()
            return prompts

        def taken(prompts: list[Prompt]) -> None:
            self._have(prompts)
            self.said.emit(self.tr("%n prompt(s) taken in.", "", len(fresh)))

        self._link.run(take, success=taken, failure=self.problem.emit)

    def _have(self, prompts: list[Prompt]) -> None:
        self._prompts = prompts
        self.changed.emit()
