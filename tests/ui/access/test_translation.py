"""Every word of the window goes through Qt's translation: under a translator that marks what it is given, the words
without a mark are those of the person, of models and of files.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import msgspec
import pytest
from PySide6.QtCore import QCoreApplication, QTranslator
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QWidget,
)

from tests.fakes.client import FakeClient
from tests.ui.access.screens import SCENES, screen
from tests.ui.shell.support import Loop
from tests.ui.wizard.test_wizard_gallery import PROMPT

_WORD = re.compile(r"[^\W\d_]{3,}")
_KEYS = re.compile(r"((Ctrl|Shift|Alt|Esc|Del|Enter|Return|Tab|Home|End|Up|Down|PgUp|PgDown|F\d+|.)(\+|, |$))+")


class Marks(QTranslator):
    """Puts brackets around whatever is to be translated."""

    def isEmpty(self) -> bool:
        return False

    def translate(self, context: str, source: str, disambiguation: str | None = None, n: int = -1) -> str:
        del context, disambiguation, n
        return f"⟦{source}⟧"


@pytest.fixture
def marked(qapp: QApplication) -> Iterator[None]:
    translator = Marks()
    QCoreApplication.installTranslator(translator)
    yield
    QCoreApplication.removeTranslator(translator)


def shown(window: QWidget) -> Iterator[tuple[str, str]]:
    """(where, words) of everything that is shown, said or told on a screen."""
    for widget in [window, *window.findChildren(QWidget)]:
        if not widget.isVisible():
            continue
        where = type(widget).__name__
        texts = [widget.toolTip(), widget.accessibleName(), widget.accessibleDescription()]
        if isinstance(widget, QLabel | QAbstractButton):
            texts.append(widget.text())
        if isinstance(widget, QLineEdit | QPlainTextEdit):
            texts.append(widget.placeholderText())
        if isinstance(widget, QComboBox):
            texts += [widget.itemText(i) for i in range(widget.count())]
        for text in texts:
            yield where, text
    for action in window.findChildren(QAction):
        yield "action", action.text()


def words_of(data: object) -> set[str]:
    """All words in what an engine sent."""
    if isinstance(data, str):
        return set(_WORD.findall(data))
    if isinstance(data, dict):
        return set().union(*(words_of(part) for pair in data.items() for part in pair), set())
    if isinstance(data, list | tuple | set):
        return set().union(*map(words_of, data), set())
    return set()


def unmarked(window: QWidget, known: set[str]) -> list[tuple[str, str]]:
    return [
        (where, text)
        for where, text in shown(window)
        if "⟦" not in text
        and not _KEYS.fullmatch(text)
        and not text.startswith("/")  # a file
        and (words := _WORD.findall(text))
        and not set(words) <= known
    ]


#: these wait for words of the window, in English
_NOT_HERE = ("reading_the_prompt", "engine_is_back")


@pytest.mark.parametrize("name", [name for name in SCENES if name not in _NOT_HERE])
def test_every_word_is_translated(
    name: str, loop: Loop, qapp: QApplication, marked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes: list[FakeClient] = []
    made = FakeClient.__init__

    def noted(self: FakeClient, *args: object, **more: object) -> None:
        made(self, *args, **more)  # type: ignore[arg-type]
        fakes.append(self)

    monkeypatch.setattr(FakeClient, "__init__", noted)
    with screen(name, loop, qapp) as window:
        data = [msgspec.to_builtins(vars(fake), enc_hook=lambda _: "") for fake in fakes]
        # with what it says of the machine while this scene's model is loaded
        data += [msgspec.to_builtins(loop.run(fake.hardware())) for fake in fakes if fake.alive]
        # what the scene itself has an engine or a person say
        told = words_of([inspect.getsource(SCENES[name][1]), PROMPT])
        assert not unmarked(window, words_of(data) | told | {"Nutshell"})
