"""A monkey: presses, types, clicks, drags and resizes at random over the real window, and keeps a book of what it sent.

Actions come from a seed. The engine answers in real time, so that two runs with one seed are alike but not the same;
the last actions are told with every failure.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path

import shiboken6
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QContextMenuEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QFileDialog,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QPushButton,
    QTextEdit,
    QWidget,
)

from backend.api.errors import DiskFullError, NutshellError
from backend.api.schemas import ErrorInfo
from tests.fakes.client import fake_loaded
from tests.ui.monkey.engine import EchoEngine, Lagging, copy_of
from ui.main_window import MainWindow

__all__ = ["Monkey"]

Key = Qt.Key
_NONE = Qt.KeyboardModifier.NoModifier
_MARK = re.compile(r"sent\d+x")
_KEYS = (
    Key.Key_Return, Key.Key_Escape, Key.Key_Tab, Key.Key_Backtab, Key.Key_Up, Key.Key_Down, Key.Key_Left,
    Key.Key_Right, Key.Key_Home, Key.Key_End, Key.Key_PageUp, Key.Key_PageDown, Key.Key_Space, Key.Key_Delete,
    Key.Key_Backspace, Key.Key_F2, Key.Key_Menu, Key.Key_Enter, Key.Key_F10,
)  # fmt: skip
_MODIFIERS = (
    _NONE, _NONE, _NONE, _NONE, Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier,
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz 0123456789.,-"
_WORDS = ("hello", "**bold** `code`", "sent", "日本", "->", "line\nline\nline", "x" * 300, "قال", "$x$", "a")
_NEVER = {"app.quit", "chat.print"}  # the run ends; the system asks for a printer and waits


class Monkey:
    """Acts on `window`, whose engine it owns.

    Attributes:
        sent: every text that was sent or put into the queue, by its mark. gone: marks that a person took away.
        done: actions so far. faults: what must not have happened, in words. counts: how often each action was done.
    """

    def __init__(self, window: MainWindow, seed: int) -> None:
        self.window = window
        self.draw = random.Random(seed)
        self.engine = EchoEngine(self.draw)
        self.sent: dict[str, str] = {}
        self.gone: set[str] = set()
        self.done = 0
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.last: deque[str] = deque(maxlen=40)
        self._marks = 0
        name = os.environ.get("NUTSHELL_MONKEY_DIARY", "")
        self._diary = Path(name) if name else None
        self._over: asyncio.Event = asyncio.Event()
        self._goal = 0
        self._dead_for = 0
        self.trail: dict[str, list[str]] = {}
        self._typed: set[str] = set()
        self._queued: list[str] = []  # what waited before the action
        screen = window.chat_screen
        screen.composer.input.textChanged.connect(self._text_changed)
        window.chat.text_returned.connect(lambda text: self._note(_MARK.findall(text), "returned"))
        screen.composer.send_requested.connect(self._book)
        screen.composer.queue_requested.connect(self._book)
        screen.queue.remove_requested.connect(self._unqueued)
        screen.view.edit_submitted.connect(lambda _id, text: self._book(text))
        screen.view.reply_edited.connect(lambda _id, text: self._book(text))
        for signal in (window.link.request_failed, window.chat.problem, window.chat.organiser.problem):
            signal.connect(self._heard)
        window.exchange.problem.connect(self._heard)
        self._actions: tuple[tuple[int, Callable[[], str]], ...] = (
            (14, self._write),
            (10, self._send),
            (4, self._escape),
            (10, self._command),
            (8, self._press_key),
            (22, self._click_widget),
            (6, self._click_anywhere),
            (3, self._context_menu),
            (3, self._drag),
            (4, self._wheel),
            (2, self._resize),
            (3, self._search),
            (9, self._row),
            (4, self._edit),
            (2, self._kill),
            (2, self._fail),
            (2, self._model),
            (3, self._jobs),
            (1, self._right_to_left),
        )
        self._weights = [weight for weight, _ in self._actions]

    # Running

    async def act(self, times: int) -> None:
        """So many actions, then a quiet moment and a look at whether all is as it should be."""
        self._goal = self.done + times
        self._over.clear()
        QTimer.singleShot(0, self.window, self._step)
        await self._over.wait()
        await self.settle()
        self.check()

    def attach(self) -> None:
        """The engine is there."""
        self.window.link.attach(Lagging(self.engine))  # type: ignore[arg-type]

    def _step(self) -> None:
        if self.done >= self._goal or self.faults:
            self._over.set()
            return
        self.done += 1
        # before acting: what the action opens may turn the loop itself until it is closed
        QTimer.singleShot(self.draw.choice((0, 0, 0, 1, 3)), self.window, self._step)
        self._queued = self.window.chat_screen.queue.texts()
        before = self._typed_marks()
        sent = set(self.sent)
        focus = QApplication.focusWidget()
        if self._dead_for:
            self._dead_for -= 1
            if not self._dead_for:
                self._revive()
        self._look_for_the_dead()
        action = self._on_top() or self.draw.choices(self._actions, self._weights)[0][1]
        name = action()
        self.counts[action.__name__] += 1
        self.last.append(f"{self.done}: {name}")
        self._tell(self.last[-1])
        composer = self.window.chat_screen.composer.input
        if focus is composer or QApplication.focusWidget() is composer or "composer" in name:
            # what a person deletes in the field with his own hands is his business
            taken = before - self._typed_marks()
            if action.__name__ in ("_press_key", "_write", "_context_menu", "_drag", "_in_menu", "_row"):
                self.gone |= {mark for mark in taken if mark not in self._elsewhere()} - (set(self.sent) - sent)

    async def settle(self) -> None:
        """Everything open is closed, the engine lives, and every answer has come to its end."""
        for _ in range(20):
            top = QApplication.activePopupWidget() or QApplication.activeModalWidget()
            if top is None:
                break
            top.close()
            await asyncio.sleep(0)
        if self._dead_for:
            self._dead_for = 0
            self._revive()
        self.engine.failures.clear()
        window = self.window
        deadline = asyncio.get_running_loop().time() + 20.0
        quiet = 0
        while quiet < 8:
            if self.engine.loading:
                self.engine.loading_ended(fake_loaded())
            if self.engine.loaded is None and not self.engine.loading:
                self.engine.publish_model(fake_loaded())
            idle = not self.engine.streaming and not window.chat.busy and window.link.ready
            quiet = quiet + 1 if idle and not window.link._operations else 0
            if asyncio.get_running_loop().time() > deadline:
                self.faults.append(
                    f"not idle after 20 s: busy {window.chat.busy}, sending {window.chat._sending!r}, streaming"
                    f" {window.chat.streaming_id}, at the engine {self.engine.streaming}, link {window.link.state},"
                    f" waiting {window.chat.waiting}, operations {len(window.link._operations)}"
                )
                return
            await asyncio.sleep(0.01)

    # The book

    def _book(self, text: str) -> None:
        for mark in _MARK.findall(text):
            self.sent[mark] = text
            self.gone.discard(mark)
        self._note(_MARK.findall(text), "sent")

    def _look_for_the_dead(self) -> None:
        """No item that is shown may have lost its widgets or its text."""
        view = self.window.chat_screen.view
        for item in filter(None, map(view.item, view.message_ids())):
            for part, what in ((item, "item"), (item.body, "body"), (item.body.markdown.document, "document")):
                if not shiboken6.isValid(part):
                    self.faults.append(f"the {what} of {item.message.role} {item.message.id} is gone")
                    return

    def _tell(self, line: str) -> None:
        """Into a file, for a crash that leaves nothing else behind."""
        if self._diary is not None:
            with self._diary.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _note(self, marks: Iterable[str], what: str) -> None:
        for mark in marks:
            after = self.last[-1] if self.last else "the start"
            self.trail.setdefault(mark, []).append(f"{what} after {after}")

    def _text_changed(self) -> None:
        before, self._typed = self._typed, self._typed_marks()
        self._note(before - self._typed, "left the composer")
        self._note(self._typed - before, "in the composer")

    def _unqueued(self, place: int) -> None:
        if place < len(self._queued):
            self.gone |= set(_MARK.findall(self._queued[place]))

    def _heard(self, error: ErrorInfo) -> None:
        if error.code == "internal_error":
            self.faults.append(f"{error.what} {error.details}")

    def _typed_marks(self) -> set[str]:
        return set(_MARK.findall(self.window.chat_screen.composer.text()))

    def _elsewhere(self) -> set[str]:
        """Marks of all that is stored, or waits somewhere to be sent."""
        window, screen = self.window, self.window.chat_screen
        texts = [message.content for message in self.engine.stored()]
        texts += [detail.conversation.draft for detail in self.engine.details.values()]
        texts += [text for waiting in screen._queues.values() for text, _files in waiting]
        texts += list(screen._drafts.values())
        texts += [message.content for message in window.chat.branch()]
        held = window.chat._held
        texts += [held[1].text or ""] if held is not None else []
        return {mark for text in texts for mark in _MARK.findall(text)}

    def check(self) -> None:
        """Compare what was sent, and what is stored, with what the window shows."""
        engine, chat, view = self.engine, self.window.chat, self.window.chat_screen.view
        self.gone |= {mark for text in engine.removed for mark in _MARK.findall(text)}
        lost = set(self.sent) - self._elsewhere() - self._typed_marks() - self.gone
        asked = {mark for name, told in engine.calls if name == "start_turn" for mark in _MARK.findall(str(told))}
        for mark in sorted(lost)[:5]:
            known = "asked of this engine" if mark in asked else "not asked of this engine"
            self.faults.append(f"lost {mark}, {known}: " + "; ".join(self.trail.get(mark, [])))
        listed = {key: one.title for key, one in chat.list._all.items()}
        there = {
            key: detail.conversation.title
            for key, detail in engine.details.items()
            if detail.conversation.deleted_at is None
        }
        if listed != there:
            self.faults.append(f"the list differs from what is stored in {set(listed.items()) ^ set(there.items())}")
        if chat.open_id:
            self._check_open(view.message_ids())

    def _check_open(self, shown: list[str]) -> None:
        chat = self.window.chat
        detail = self.engine.details.get(chat.open_id)
        if detail is None:
            self.faults.append("a conversation is open that was removed for good")
            return
        stored = copy_of(detail)
        branch = [message.id for message in chat.branch()]
        if branch != shown:
            self.faults.append(f"the view shows {len(shown)} messages of the branch's {len(branch)}")
        if stored != branch:
            self.faults.append(f"the branch is {branch}, and {stored} is stored")
        known = {message.id: message for message in detail.messages}
        for message in chat.branch():
            mine = known.get(message.id)
            if mine is not None and (mine.content, mine.status) != (message.content, message.status):
                self.faults.append(
                    f"{message.role} {message.id}: {message.status} {len(message.content)} characters,"
                    f" stored {mine.status} {len(mine.content)}"
                )
            item = self.window.chat_screen.view.item(message.id)
            if item is not None and item.message.content != message.content:
                self.faults.append(f"{message.id} is not shown as it is")

    # What it does

    def _on_top(self) -> Callable[[], str] | None:
        """Popups and questions have the hands first, most of the time."""
        if isinstance(QApplication.activeModalWidget(), QFileDialog):
            return self._file_dialog
        if isinstance(QApplication.activePopupWidget(), QMenu) and self.draw.random() < 0.8:
            return self._in_menu
        if QApplication.activeModalWidget() is not None and self.draw.random() < 0.7:
            return self._in_dialog
        return None

    def _in_menu(self) -> str:
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, QMenu)
        actions = [one for one in menu.actions() if one.isVisible() and one.isEnabled() and not one.isSeparator()]
        if not actions or self.draw.random() < 0.2:
            QTest.keyClick(menu, Key.Key_Escape)
            return "Esc in a menu"
        action = self.draw.choice(actions)
        if action.objectName() in _NEVER:
            menu.close()
            return "a menu closed"
        name = action.text()
        QTest.mouseClick(menu, Qt.MouseButton.LeftButton, _NONE, menu.actionGeometry(action).center())
        return f"menu {name!r}"

    def _in_dialog(self) -> str:
        dialog = QApplication.activeModalWidget()
        fields = [one for one in dialog.findChildren(QLineEdit) if one.isVisible()]
        if fields and self.draw.random() < 0.5:
            QTest.keyClicks(self.draw.choice(fields), self.draw.choice(("Plan", "a", "x" * 40)))
            return "typed into a dialog"
        buttons = [one for one in dialog.findChildren(QPushButton) if one.isVisible() and one.isEnabled()]
        if not buttons or self.draw.random() < 0.2:
            QTest.keyClick(dialog, self.draw.choice((Key.Key_Escape, Key.Key_Return)))
            return "a key in a dialog"
        button = self.draw.choice(buttons)
        name = button.text()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        return f"dialog button {name!r}"

    def _file_dialog(self) -> str:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, QDialog)
        dialog.reject()
        return "file dialog closed"

    def _write(self) -> str:
        composer = self.window.chat_screen.composer.input
        if not composer.isVisible():
            return "nothing to write into"
        self._marks += 1
        text = f"sent{self._marks}x {self.draw.choice(_WORDS)}"
        composer.setFocus()
        composer.insertPlainText(text)
        return f"wrote {text[:30]!r} into the composer"

    def _send(self) -> str:
        composer = self.window.chat_screen.composer
        if not composer.isVisible():
            return "nothing to send"
        if self.draw.random() < 0.8:
            QTest.keyClick(composer.input, Key.Key_Return)
            return "Return in the composer"
        QTest.mouseClick(composer.button, Qt.MouseButton.LeftButton)
        return "composer button"

    def _escape(self) -> str:
        QTest.keyClick(QApplication.focusWidget() or self.window, Key.Key_Escape)
        return "Esc"

    def _command(self) -> str:
        action = self.draw.choice([one for one in self.window.commands if one.objectName() not in _NEVER])
        if action.isEnabled():
            action.trigger()
        return f"command {action.objectName()}"

    def _press_key(self) -> str:
        focus = QApplication.focusWidget() or self.window
        if self.draw.random() < 0.4:
            QTest.keyClicks(focus, self.draw.choice(_LETTERS))
            return f"a letter in {type(focus).__name__}"
        key, modifiers = self.draw.choice(_KEYS), self.draw.choice(_MODIFIERS)
        QTest.keyClick(focus, key, modifiers)
        return f"{key.name} {modifiers} in {type(focus).__name__}"

    def _targets(self) -> list[QWidget]:
        root = QApplication.activePopupWidget() or QApplication.activeModalWidget() or self.window
        return [one for one in root.findChildren(QWidget) if one.isVisible() and one.isEnabled()]

    def _click_widget(self) -> str:
        targets = [one for one in self._targets() if one.inherits("QAbstractButton")] or self._targets()
        if not targets:
            return "nothing to click"
        widget = self.draw.choice(targets)
        name = f"{type(widget).__name__} {widget.accessibleName() or widget.objectName()!r}"
        self._tell(f"will click {name}")
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton)
        return f"click {name}"

    def _place(self, widget: QWidget) -> QPoint:
        return QPoint(self.draw.randrange(max(1, widget.width())), self.draw.randrange(max(1, widget.height())))

    def _click_anywhere(self) -> str:
        targets = self._targets()
        if not targets:
            return "nothing to click"
        widget = self.draw.choice(targets)
        button = self.draw.choice((Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton, Qt.MouseButton.RightButton))
        name = type(widget).__name__
        if self.draw.random() < 0.25:
            QTest.mouseDClick(widget, Qt.MouseButton.LeftButton, _NONE, self._place(widget))
            return f"double click in {name}"
        modifiers = self.draw.choice(_MODIFIERS)
        QTest.mouseClick(widget, button, modifiers, self._place(widget))
        return f"{button.name} in {name}"

    def _context_menu(self) -> str:
        texts = [one for one in self._targets() if isinstance(one, QTextEdit | QPlainTextEdit | QLineEdit)]
        widget = self.draw.choice(texts or self._targets() or [self.window])
        place = self._place(widget)
        event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, place, widget.mapToGlobal(place))
        QApplication.postEvent(widget, event)  # it may turn the loop itself
        return f"context menu of {type(widget).__name__}"

    def _drag(self) -> str:
        targets = self._targets()
        if not targets:
            return "nothing to drag"
        widget = self.draw.choice(targets)
        name = type(widget).__name__
        QTest.mousePress(widget, Qt.MouseButton.LeftButton, _NONE, self._place(widget))
        for _ in range(3):
            QTest.mouseMove(widget, self._place(widget))
        QTest.mouseRelease(widget, Qt.MouseButton.LeftButton, _NONE, self._place(widget))
        return f"drag in {name}"

    def _wheel(self) -> str:
        widget = self.draw.choice(self._targets() or [self.window])
        place = QPointF(self._place(widget))
        turn = QPoint(0, self.draw.choice((-1200, -120, 120, 1200)))
        modifiers = self.draw.choice((_NONE, _NONE, Qt.KeyboardModifier.ControlModifier))
        event = QWheelEvent(
            place, QPointF(widget.mapToGlobal(place.toPoint())), QPoint(), turn, Qt.MouseButton.NoButton, modifiers,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(widget, event)
        return f"wheel over {type(widget).__name__}"

    def _resize(self) -> str:
        if self.draw.random() < 0.3:
            self.window.resize(1180, 780)
        else:
            self.window.resize(self.draw.randint(300, 1800), self.draw.randint(300, 1200))
        return "resize"

    def _search(self) -> str:
        field = self.window.sidebar.search
        if not field.isVisible():
            return "no search field"
        if field.text():
            field.clear()
            return "search cleared"
        QTest.keyClicks(field, self.draw.choice(("sent1", "echo", "ans", "zzz", "->")))
        return "search"

    def _row(self) -> str:
        side = self.window.sidebar.list
        model = self.window.chat.list
        if not side.isVisible() or not model.rowCount():
            return "no rows"
        index = model.index(self.draw.randrange(model.rowCount()))
        side.scrollTo(index)
        place = side.visualRect(index).center()
        chance = self.draw.random()
        if chance < 0.2:
            event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, place, side.viewport().mapToGlobal(place))
            QApplication.postEvent(side.viewport(), event)
            return "menu of a row"
        modifiers = Qt.KeyboardModifier.ControlModifier if chance < 0.3 else _NONE
        QTest.mouseClick(side.viewport(), Qt.MouseButton.LeftButton, modifiers, place)
        return "click on a row"

    def _edit(self) -> str:
        view = self.window.chat_screen.view
        items = [item for item in map(view.item, view.message_ids()) if item is not None]
        if not items:
            return "nothing to edit"
        item = self.draw.choice(items)
        if not item.is_editing():
            button = item.row.button("edit")
            if button is None or not button.isVisible():
                return "no edit button"
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
            return "edit begun"
        editor = item.editor()
        assert editor is not None
        if self.draw.random() < 0.3:
            QTest.mouseClick(editor.cancel, Qt.MouseButton.LeftButton)
            return "edit given up"
        self._marks += 1
        editor.input.insertPlainText(f" sent{self._marks}x")
        QTest.mouseClick(editor.save, Qt.MouseButton.LeftButton)
        return f"edit sent{self._marks}x saved"

    # The engine's part

    def _kill(self) -> str:
        if self._dead_for:
            return "still dead"
        self.engine.die()
        if self.draw.random() < 0.9:
            self.window.link.detach("The engine stopped. It is starting again…")
        else:
            self.window.link.fail(NutshellError("The engine does not start.", why="A test.", remedy="Try again."))
        self._dead_for = self.draw.randint(1, 40)
        return "the engine was killed"

    def _revive(self) -> None:
        self.engine = EchoEngine(self.draw, self.engine)
        if self.draw.random() < 0.5:
            self.window.link.starting()
        self.attach()
        self.last.append(f"{self.done}: a new engine")

    def _fail(self) -> str:
        method = self.draw.choice(
            ("start_turn", "create_conversation", "update_conversation", "conversation", "search", "delete_turn")
        )
        self.engine.failures[method] = DiskFullError("The disk is full.", remedy="Free some space.", details="28")
        return f"the next {method} fails"

    def _model(self) -> str:
        engine = self.engine
        if not engine.alive:
            return "no engine"
        if engine.loading:
            engine.loading_ended(fake_loaded() if self.draw.random() < 0.8 else None)
            return "the model has come, or not"
        if engine.loaded is None:
            engine.publish_model(fake_loaded())
            return "another program loaded a model"
        engine.loading_moved(0.5) if engine.loading else None
        return "no model to come"

    def _jobs(self) -> str:
        engine = self.engine
        if not engine.alive:
            return "no engine"
        state = self.draw.choice(("finished", "failed", "paused"))
        error = ErrorInfo(code="disk_full", what="The disk is full.") if state == "failed" else None
        if any(one.job for one in engine.compressions):
            if self.draw.random() < 0.6:
                engine.compression_moved(self.draw.random())
            else:
                engine.compression_ended(state, error)
            return f"a compression moved, or was {state}"
        running = [one for one in engine.fetched if one.job]
        if running:
            if self.draw.random() < 0.6:
                engine.download_moved(running[0], self.draw.random())
            else:
                engine.download_ended(running[0], state, error)
            return f"a download moved, or was {state}"
        return "no jobs"

    def _right_to_left(self) -> str:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        right = Qt.LayoutDirection.RightToLeft
        app.setLayoutDirection(right if self.draw.random() < 0.3 else Qt.LayoutDirection.LeftToRight)
        return "reading direction"


def close_all() -> None:
    """Whatever is left open is closed."""
    for widget in QApplication.topLevelWidgets():
        if widget.isVisible() and widget.windowType() != Qt.WindowType.Window:
            widget.close()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
