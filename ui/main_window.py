"""The window: panes and their placement. What the panes show is in the sessions, what the keys do in the actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from PySide6.QtCore import QByteArray, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QActionGroup, QCloseEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QMainWindow, QMenu, QStackedWidget, QVBoxLayout, QWidget

from backend.api.schemas import Conversation, ModelEntry
from ui.actions import Actions, command_table
from ui.bridge.engine_link import EngineLink
from ui.hardware.hardware_page import HardwarePage
from ui.inspector.inspector import Inspector
from ui.library.model_menu import ModelMenu
from ui.shell.chat_screen import ChatScreen
from ui.shell.drops import ModelDrop
from ui.shell.engine_notices import EngineNotices
from ui.shell.failed_page import FailedPage
from ui.shell.notices import Notices
from ui.shell.panes import Panes
from ui.shell.top_bar import TopBar
from ui.sidebar.sidebar import Sidebar
from ui.theme import Mode, apply_theme, metrics
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.model_session import ModelSession
from ui.widgets import show_toast
from ui.widgets.notice import NoticeBar

__all__ = ["MainWindow"]

_ZOOM_STEPS = (0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
_SIZE, _LEAST = (1180, 780), (420, 420)


class MainWindow(QMainWindow):
    """Conversations at the left, the chat in the middle, the inspector at the right.

    Args:
        link: the link to the engine process, in any state.
        settings: the values of `theme`, `zoom`, `sidebar_visible`, `inspector_visible`, `window_geometry`,
            `last_conversation` and `context_policy`; what is missing has its default.
        save: called with those that changed.

    Signals:
        restart_requested: the user wants the engine to be started again.
    """

    restart_requested = Signal()

    def __init__(
        self,
        link: EngineLink,
        settings: Mapping[str, object] | None = None,
        save: Callable[[dict[str, object]], object] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._settings = dict(settings or {})
        self._save = save
        self.link = link
        self.models = ModelSession(link, self)
        self.chat = ChatSession(link, self.models, self)
        self.actions_ = Actions(self, command_table(self))
        self._model_menu: ModelMenu | None = None
        self._menu: QMenu | None = None
        self._hardware: HardwarePage | None = None

        self.sidebar = Sidebar(self.chat, self.actions_)
        self.inspector = Inspector(self.chat, self.models, link)
        self.top_bar = TopBar(self.actions_, self.models)
        self.notice_bar = NoticeBar(closable=True)
        self.notices = Notices(self.notice_bar)
        self.screen_ = ChatScreen(self.chat)
        self.failed_page = FailedPage()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.screen_)
        self.pages.addWidget(self.failed_page)
        self.panes = Panes(self.sidebar, self._middle(), self.inspector)
        self.setCentralWidget(self.panes)
        self.engine_notices = EngineNotices(self.notices, link, self.chat, self.models)
        self._drop = ModelDrop(self, self.screen_.composer.input.viewport())
        self._connect()
        self._restore()
        self._refresh()

    def _middle(self) -> QWidget:
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.top_bar)
        around = QVBoxLayout()
        around.setContentsMargins(metrics.m, metrics.s, metrics.m, 0)
        around.addWidget(self.notice_bar)
        self._notice_space = around
        column.addLayout(around)
        column.addWidget(self.pages, 1)
        return middle

    def _connect(self) -> None:
        self.sidebar.opened.connect(self.open_conversation)
        self.top_bar.renamed.connect(lambda title: self.chat.rename(self.chat.open_id, title))
        self.top_bar.model.menu_requested.connect(self.choose_model)
        self.top_bar.menu_requested.connect(self._show_menu)
        self.panes.shown_changed.connect(self._bars_changed)
        self.failed_page.retry_requested.connect(self.restart_requested)
        self.engine_notices.retry_requested.connect(self.restart_requested)
        self.engine_notices.model_wanted.connect(self.choose_model)
        self.engine_notices.back.connect(lambda text: show_toast(self.pages, text))
        self._drop.dropped.connect(self.open_path)
        self.screen_.composer.send_requested.connect(self._sent)
        self.chat.deleted.connect(self._offer_undo)
        self.chat.opened.connect(self._refresh)
        for changed in (self.chat.branch_changed, self.chat.details_changed, self.models.changed):
            changed.connect(self._refresh)
        self.chat.busy_changed.connect(self._refresh)
        self.link.state_changed.connect(self._link_changed)
        self.chat.list.modelReset.connect(self._open_last)

    # State of the window

    def _restore(self) -> None:
        wide = QGuiApplication.primaryScreen().availableGeometry()
        self.setMinimumSize(*_LEAST)
        self.resize(min(_SIZE[0], wide.width()), min(_SIZE[1], wide.height()))
        geometry = str(self._settings.get("window_geometry") or "")
        if geometry:
            self.restoreGeometry(QByteArray.fromBase64(geometry.encode("ascii", "ignore")))
        self.panes.set_wanted("left", bool(self._settings.get("sidebar_visible", True)))
        self.panes.set_wanted("right", bool(self._settings.get("inspector_visible", True)))
        policy = self._settings.get("context_policy")
        if policy in ("stop", "drop_middle", "drop_oldest"):
            self.chat.draft.context_policy = policy  # type: ignore[assignment]  # one of the three
        themes = QActionGroup(self)
        for name in ("system", "light", "dark"):
            themes.addAction(self.actions_[f"theme.{name}"])
        self.actions_[f"theme.{self._theme()}"].setChecked(True)
        self._last = str(self._settings.get("last_conversation") or "")
        QTimer.singleShot(0, self, self.focus_composer)
        self._bars_changed()
        self.inspector.refresh()

    def _keep(self, **values: object) -> None:
        changed = {name: value for name, value in values.items() if self._settings.get(name) != value}
        if changed:
            self._settings.update(changed)
            if self._save is not None:
                self._save(changed)

    def _open_last(self) -> None:
        """After the first list has come: the conversation that was open last, unless something was begun meanwhile."""
        last, self._last = self._last, ""
        if last and not self.chat.open_id and not self.chat.busy and self.chat.list.get(last) is not None:
            self.chat.open(last)

    def closeEvent(self, event: QCloseEvent) -> None:
        self.inspector.flush()
        self._keep(
            window_geometry=self.saveGeometry().toBase64().toStdString(),
            last_conversation=self.chat.open_id,
            sidebar_visible=self.panes.wanted("left"),
            inspector_visible=self.panes.wanted("right"),
        )
        super().closeEvent(event)

    def _theme(self) -> Mode:
        theme = self._settings.get("theme")
        return cast("Mode", theme) if theme in ("system", "light", "dark") else "system"

    # What is shown where

    def _refresh(self, _what: object = None) -> None:
        conversation, link, models = self.chat.conversation, self.link, self.models
        title = conversation.title or self.tr("New chat")
        self.top_bar.title.set_title(title, editable=bool(conversation.id))
        self.setWindowTitle(conversation.title)
        can_ask = models.can_answer and not self.chat.busy
        answered = self.chat.message("", "assistant") is not None
        enable = self.actions_.enable
        enable(bool(conversation.id), "chat.rename", "chat.delete")
        enable(can_ask and answered, "answer.regenerate", "answer.continue")
        enable(answered, "answer.copy")
        enable(can_ask and self.chat.message("", "user") is not None, "message.edit")
        enable(link.ready, "model.open", "view.hardware")
        enable(models.loaded is not None and not models.loading, "model.unload")
        self.screen_.composer.set_enabled_reason(self._why_not_send())

    def _why_not_send(self) -> str:
        if self.link.state == "failed":
            return self.tr("The engine is not running.")
        if self.link.ready and self.models.loaded is None and not self.models.loading:
            return self.tr("No model is loaded. Choose one at the top.")
        return ""

    def _link_changed(self, state: str, _sentence: str) -> None:
        # A chat that is on the screen stays there; the notice over it says the same.
        blank = state == "failed" and not self.chat.branch()
        if blank and self.link.error is not None:
            self.failed_page.set_error(self.link.error)
            self.notices.withdraw("engine")
        if blank:
            self._show_page(self.failed_page)
        elif self.pages.currentWidget() is self.failed_page:
            self._show_page(self.screen_)
        self._refresh()

    def _show_page(self, page: QWidget) -> None:
        self.pages.setCurrentWidget(page)
        self.actions_["view.hardware"].setChecked(page is self._hardware and self._hardware is not None)

    def _bars_changed(self) -> None:
        left, right = self.panes.shown("left"), self.panes.shown("right")
        self.actions_["view.sidebar"].setChecked(left)
        self.actions_["view.inspector"].setChecked(right)
        docked = left and not self.panes.floats("left")
        self.top_bar.sidebar.setVisible(not docked)
        self.top_bar.new.setVisible(not docked)

    def _show_menu(self) -> None:
        if self._menu is None:
            fill = self.actions_.fill
            menu = self._menu = QMenu(self)
            fill(menu, "chat.new", "chat.rename", "chat.delete", "-", "answer.regenerate", "answer.continue")
            fill(menu, "answer.copy", "message.edit", "-", "model.choose", "model.open", "model.unload", "-")
            look = menu.addMenu(self.tr("Appearance"))
            fill(look, "theme.system", "theme.light", "theme.dark", "-")
            fill(look, "view.zoom_in", "view.zoom_out", "view.zoom_reset")
            fill(menu, "view.sidebar", "view.inspector", "view.hardware", "-", "app.quit")
        button, menu = self.top_bar.menu, self._menu
        left = button.width() - menu.sizeHint().width() if not self.isRightToLeft() else 0
        menu.popup(button.mapToGlobal(QPoint(left, button.height() + metrics.xs)))

    def _offer_undo(self, conversation: Conversation) -> None:
        title = conversation.title or self.tr("New chat")
        show_toast(
            self.pages,
            self.tr("“{0}” was deleted.").format(title if len(title) < 40 else title[:39] + "…"),
            action=self.tr("Undo"),
            on_action=partial(self.chat.restore, conversation.id),
        )

    def _sent(self, _text: str) -> None:
        self._show_page(self.screen_)

    # Commands

    def new_chat(self) -> None:
        self.inspector.flush()
        self.chat.new_chat()
        self._show_chat()

    def open_conversation(self, conversation_id: str) -> None:
        """Show a conversation."""
        self.inspector.flush()
        self.chat.open(conversation_id)
        self._show_chat()

    def _show_chat(self) -> None:
        if self.pages.currentWidget() is not self.failed_page:
            self._show_page(self.screen_)
        self.panes.close_drawer()
        self.focus_composer()

    def rename_conversation(self) -> None:
        chosen = self.sidebar.selected()
        if not (self.panes.shown("left") and self.sidebar.rename(chosen)):
            self.top_bar.title.edit()

    def delete_conversation(self) -> None:
        self.chat.delete(self.sidebar.selected())

    def next_conversation(self) -> None:
        self._step(1)

    def previous_conversation(self) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        conversation_id = self.chat.list.neighbour(self.chat.open_id, step)
        if conversation_id is not None:
            self.open_conversation(conversation_id)

    def stop(self) -> None:
        if not self.panes.close_drawer():
            self.chat.stop()

    def regenerate(self) -> None:
        self.chat.regenerate()

    def continue_answer(self) -> None:
        self.chat.continue_answer()

    def copy_last_answer(self) -> None:
        answer = self.chat.message("", "assistant")
        if answer is not None:
            QGuiApplication.clipboard().setText(answer.content)
            show_toast(self.pages, self.tr("The answer was copied."), timeout_ms=2000)

    def edit_last_message(self) -> None:
        message = self.chat.message("", "user")
        if message is not None:
            self._show_page(self.screen_)
            self.screen_.edit_message(message.id)

    def choose_model(self) -> None:
        if self._model_menu is None:
            self._model_menu = ModelMenu(self.models.list, [(self.actions_["model.open"], "folder")], self)
            self._model_menu.chosen.connect(self._load)
        if self._model_menu.isVisible():
            self._model_menu.close_popover()
            return
        if self.link.ready:
            self.models.refresh()
        self._model_menu.open_under(self.top_bar.model.button)

    def _load(self, entry: ModelEntry) -> None:
        loaded = self.models.loaded
        if loaded is None or loaded.entry.id != entry.id or self.models.loading:
            self.models.load(entry)

    def open_model_file(self) -> None:
        dialog = QFileDialog(self, self.tr("Open a GGUF file"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([self.tr("Models (*.gguf)"), self.tr("All files (*)")])
        dialog.fileSelected.connect(self.open_path)
        dialog.open()

    def open_path(self, path: str) -> None:
        """Load a model file."""
        self.models.load_path(path)

    def unload_model(self) -> None:
        self.models.unload()

    def toggle_sidebar(self) -> None:
        self.panes.toggle("left")
        self._bars_changed()
        self._keep(sidebar_visible=self.panes.wanted("left"))

    def toggle_inspector(self) -> None:
        self.panes.toggle("right")
        self._bars_changed()
        self._keep(inspector_visible=self.panes.wanted("right"))

    def toggle_hardware(self) -> None:
        if self._hardware is not None and self.pages.currentWidget() is self._hardware:
            self._show_page(self.screen_)
            return
        if self._hardware is None:
            self._hardware = HardwarePage(self.link)
            self.pages.addWidget(self._hardware)
        self._show_page(self._hardware)
        self.panes.close_drawer()

    def zoom_in(self) -> None:
        self._zoom(next((step for step in _ZOOM_STEPS if step > metrics.zoom + 0.01), _ZOOM_STEPS[-1]))

    def zoom_out(self) -> None:
        self._zoom(next((step for step in reversed(_ZOOM_STEPS) if step < metrics.zoom - 0.01), _ZOOM_STEPS[0]))

    def zoom_reset(self) -> None:
        self._zoom(1.0)

    def _zoom(self, zoom: float) -> None:
        self._apply_theme(zoom=zoom)
        self._keep(zoom=zoom)

    def theme_system(self) -> None:
        self._set_theme("system")

    def theme_light(self) -> None:
        self._set_theme("light")

    def theme_dark(self) -> None:
        self._set_theme("dark")

    def _set_theme(self, theme: Mode) -> None:
        self._keep(theme=theme)
        self.actions_[f"theme.{theme}"].setChecked(True)
        self._apply_theme()

    def _apply_theme(self, zoom: float | None = None) -> None:
        app = QApplication.instance()
        if isinstance(app, QApplication):
            apply_theme(app, self._theme(), zoom=zoom)

    def focus_search(self) -> None:
        if not self.panes.shown("left"):
            self.toggle_sidebar()
        self.sidebar.focus_search()

    def focus_composer(self) -> None:
        if self.pages.currentWidget() is self.screen_:
            self.screen_.focus_composer()

    def quit(self) -> None:
        self.close()
