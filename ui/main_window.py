"""The window: panes and their placement. What the panes show is in the sessions, what the keys do in the actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial

from PySide6.QtCore import QByteArray, QPoint, QTimer, Signal
from PySide6.QtGui import QAction, QActionGroup, QCloseEvent, QGuiApplication
from PySide6.QtWidgets import QMainWindow, QMenu, QStackedWidget, QVBoxLayout, QWidget

from backend.api.compression import Compression
from backend.api.downloads import Download
from backend.api.schemas import Conversation, LoadedModel, ModelEntry
from ui.actions import Actions, command_table
from ui.bridge.engine_link import EngineLink
from ui.bridge.garbage import collect_in_gui_thread
from ui.hardware.hardware_page import HardwarePage
from ui.inspector.inspector import Inspector
from ui.library.download_page import DownloadPage
from ui.library.model_menu import ModelMenu
from ui.logs.log_page import About
from ui.presets.session import PresetSession
from ui.settings.network_page import NetworkPage
from ui.shell.chat_screen import ChatScreen
from ui.shell.commands import Commands
from ui.shell.drops import ModelDrop
from ui.shell.engine_notices import EngineNotices
from ui.shell.exchange import Exchange
from ui.shell.failed_page import FailedPage
from ui.shell.first_model import FirstModel
from ui.shell.housekeeping import Housekeeping
from ui.shell.notices import Notices
from ui.shell.panes import Panes
from ui.shell.tab_order import step_focus
from ui.shell.top_bar import TopBar
from ui.sidebar.sidebar import Sidebar
from ui.theme import Mode, metrics
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.compression_words import state_words
from ui.viewmodels.download_session import DownloadSession
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import error_words, model_name
from ui.widgets import show_toast
from ui.widgets.notice import NoticeBar
from ui.wizard.wizard_page import WizardPage

__all__ = ["MainWindow"]

_COMPRESSION, _DOWNLOAD = "compression", "download"  # their notices
_SIZE, _LEAST = (1180, 780), (420, 420)


class MainWindow(QMainWindow):
    """Conversations at the left, the chat in the middle, the inspector at the right.

    Args:
        link: the link to the engine process, in any state.
        settings: the values of `theme`, `zoom`, `sidebar_visible`, `inspector_visible`, `window_geometry`,
            `last_conversation`, `kv` and `context_policy`; what is missing has its default.
        save: called with those that changed.
        about: the logs, and what the program says of itself; None: it has neither.

    Signals:
        window_requested: the user wants another window.
        restart_requested: the user wants the engine to be started again.
        serve_requested: the user switched the address for other programs on (True) or off.
    """

    restart_requested = Signal()
    serve_requested = Signal(bool)
    window_requested = Signal()

    def __init__(
        self,
        link: EngineLink,
        settings: Mapping[str, object] | None = None,
        save: Callable[[dict[str, object]], object] | None = None,
        parent: QWidget | None = None,
        *,
        about: About | None = None,
    ) -> None:
        super().__init__(parent)
        collect_in_gui_thread()
        self._settings = dict(settings or {})
        self._save = save
        self.link = link
        self.models = ModelSession(link, self)
        self.chat = ChatSession(link, self.models, self)
        self.compression = CompressionSession(link, self)
        self.downloads = DownloadSession(link, self)
        self.housekeeping = Housekeeping(self, about)
        self.first_model = FirstModel(self)
        mine = (*self.housekeeping.commands(), *self.first_model.commands())
        self.commands = Actions(self, (*command_table(Commands(self)), *mine))
        self._model_menu: ModelMenu | None = None
        self._menu: QMenu | None = None
        self._hardware: HardwarePage | None = None
        self._wizard: WizardPage | None = None
        self._download_page: DownloadPage | None = None
        self._network: NetworkPage | None = None

        self.exchange = Exchange(link, self.chat.list, self)
        self.sidebar = Sidebar(self.chat, self.commands)
        self.presets = PresetSession(link, self.models, self)
        self.inspector = Inspector(self.chat, self.models, link, self.presets)
        self.top_bar = TopBar(self.commands, self.models)
        self.notice_bar = NoticeBar(closable=True)
        self.notices = Notices(self.notice_bar)
        self.chat_screen = ChatScreen(self.chat, link, self.models)
        self.failed_page = FailedPage()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.chat_screen)
        self.pages.addWidget(self.failed_page)
        self.panes = Panes(self.sidebar, self._middle(), self.inspector)
        self.setCentralWidget(self.panes)
        self.engine_notices = EngineNotices(self.notices, link, self.chat, self.models)
        self._drop = ModelDrop(self, self.chat_screen.composer.input.viewport())
        self._connect()
        self._restore()
        self.first_model.connect()
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
        self.sidebar.export_requested.connect(self.exchange.ask_export)
        self.sidebar.import_requested.connect(self.exchange.ask_import)
        self.exchange.said.connect(self.toast)
        self.exchange.problem.connect(self.chat.problem)
        self.exchange.imported.connect(self.open_conversation)
        self.sidebar.found.connect(self.chat_screen.show_match)
        self.top_bar.renamed.connect(lambda title: self.chat.rename(self.chat.open_id, title))
        self.top_bar.model.menu_requested.connect(self.toggle_model_menu)
        self.top_bar.menu_requested.connect(self._show_menu)
        self.panes.shown_changed.connect(self._bars_changed)
        self.failed_page.retry_requested.connect(self.restart_requested)
        self.engine_notices.retry_requested.connect(self.restart_requested)
        self.engine_notices.model_wanted.connect(self.toggle_model_menu)
        self.engine_notices.back.connect(self.toast)
        self._drop.dropped.connect(self.models.load_path)
        self.chat_screen.composer.send_requested.connect(self._sent)
        self.chat_screen.view.wrap_requested.connect(self.commands["view.wrap_code"].trigger)
        self.chat_screen.view.empty_state().compress_requested.connect(self.toggle_wizard)
        self.inspector.position.others_wanted.connect(lambda name: self.show_downloads().look_for(name))
        self.inspector.position.smaller_wanted.connect(lambda path: self.show_wizard().choose_path(path))
        self.compression.unfinished_found.connect(self._offer_to_go_on)
        self.compression.ended.connect(self._compression_ended)
        self.compression.changed.connect(self._compression_changed)
        self.downloads.ended.connect(self._download_ended)
        self.chat.deleted.connect(self._offer_undo)
        self.chat.organiser.emptied.connect(
            lambda number: self.toast(self.tr("%n conversation(s) removed for good.", "", number))
        )
        self.chat.organiser.emptied.connect(lambda _number: self.chat.read_again(self.chat.open_id))
        self.chat.opened.connect(self._refresh)
        for changed in (self.chat.branch_changed, self.chat.details_changed, self.models.changed):
            changed.connect(self._refresh)
        self.chat.busy_changed.connect(self._refresh)
        self.link.state_changed.connect(self._link_changed)
        self.chat.list.modelReset.connect(self._open_last)
        self.models.list.modelReset.connect(self._name_models)
        self.models.kv_changed.connect(lambda kv: self.keep(kv=kv))
        self.models.speculation_changed.connect(self._keep_speculation)
        self.models.positions_changed.connect(lambda places: self.keep(slider_positions=json.dumps(places)))

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
        kv = self._settings.get("kv")
        if kv in ("f16", "q8"):
            self.models.kv = kv
        self.models.positions.update(_places(self._settings.get("slider_positions")))
        policy = self._settings.get("context_policy")
        if policy in ("stop", "drop_middle", "drop_oldest"):
            self.chat.draft.context_policy = policy
        themes = QActionGroup(self)
        for name in ("system", "light", "dark"):
            themes.addAction(self.commands[f"theme.{name}"])
        self.commands[f"theme.{self.theme()}"].setChecked(True)
        self.commands["theme.contrast"].setChecked(bool(self._settings.get("high_contrast", False)))
        self.commands["theme.motion"].setChecked(bool(self._settings.get("reduced_motion", False)))
        self.commands["view.wrap_code"].setChecked(bool(self._settings.get("wrap_code", True)))
        self.commands["model.serve"].setChecked(bool(self._settings.get("serve_enabled", False)))
        self.commands["app.notify"].setChecked(bool(self._settings.get("notify", True)))
        suggest = bool(self._settings.get("follow_ups", False))
        self.commands["answer.follow_ups"].setChecked(suggest)
        self.chat_screen.next_questions.set_enabled(suggest)
        self.commands.enable(self.housekeeping.knows_logs, "view.logs", "app.diagnostics")
        self._last = str(self._settings.get("last_conversation") or "")
        self.chat_screen.composer.set_text(str(self._settings.get("new_chat_draft") or ""))
        self.chat_screen.files.attaching.restore(str(self._settings.get("unsent_files") or ""))
        self.chat_screen.files.attaching.changed.connect(self._keep_files)
        QTimer.singleShot(0, self, self._focus_composer)
        self._bars_changed()
        self.inspector.refresh()

    def keep(self, **values: object) -> None:
        """Remember settings; those that changed are handed to `save`."""
        changed = {name: value for name, value in values.items() if self._settings.get(name) != value}
        if changed:
            self._settings.update(changed)
            if self._save is not None:
                self._save(changed)

    def adopt(self, values: Mapping[str, object]) -> None:
        """Take over settings that were changed in another window."""
        self._settings.update(values)
        self.commands[f"theme.{self.theme()}"].setChecked(True)
        switches = {
            "model.serve": "serve_enabled", "app.notify": "notify", "answer.follow_ups": "follow_ups",
            "theme.contrast": "high_contrast",
            "theme.motion": "reduced_motion", "view.wrap_code": "wrap_code",
        }  # fmt: skip
        for name, setting in switches.items():
            if setting in values:
                self.commands[name].setChecked(bool(values[setting]))
        if "follow_ups" in values:
            self.chat_screen.next_questions.set_enabled(bool(values["follow_ups"]))

    def _keep_speculation(self, model: LoadedModel) -> None:
        self.keep(speculation=model.speculation or "auto", draft_nodes=model.draft_nodes or 8)
        if model.speculation == "custom":  # else it may have come with a build, and be nobody's choice
            self.keep(draft_model=model.draft_model)

    def _open_last(self) -> None:
        """After the first list has come: the conversation that was open last, unless something was begun meanwhile."""
        last, self._last = self._last, ""
        if last and not self.chat.open_id and not self.chat.busy and self.chat.list.get(last) is not None:
            self.chat.open(last)

    def _name_models(self) -> None:
        names = {entry.id: model_name(entry.name) for entry in self.models.list.entries()}
        self.chat_screen.view.set_model_names(names)

    def keep_texts(self) -> None:
        """Keep what was written and not sent, before the window or the engine goes."""
        self.keep(new_chat_draft=self.chat_screen.keep_texts())
        self._keep_files()

    def _keep_files(self) -> None:
        self.keep(unsent_files=self.chat_screen.files.attaching.kept())

    def focusNextPrevChild(self, forward: bool) -> bool:
        messages = self.chat_screen.view.scroll_area()
        parts = (self.sidebar, self.top_bar, self.notice_bar, messages, self.pages, self.inspector)
        return step_focus(self, parts, messages, forward=forward) or super().focusNextPrevChild(forward)

    def closeEvent(self, event: QCloseEvent) -> None:
        self.inspector.flush()
        self.presets.flush()
        self.keep_texts()
        self.keep(
            window_geometry=self.saveGeometry().toBase64().toStdString(),
            last_conversation=self.chat.open_id,
            sidebar_visible=self.panes.wanted("left"),
            inspector_visible=self.panes.wanted("right"),
        )
        super().closeEvent(event)

    def theme(self) -> Mode:
        """The appearance that the user chose."""
        theme = self._settings.get("theme")
        return theme if theme in ("system", "light", "dark") else "system"

    # What is shown where

    def _refresh(self, _what: object = None) -> None:
        conversation, link, models = self.chat.conversation, self.link, self.models
        title = conversation.title or self.tr("New chat")
        self.top_bar.title.set_title(title, editable=bool(conversation.id))
        self.setWindowTitle(conversation.title)
        can_ask = models.can_answer and not self.chat.busy
        answered = self.chat.message("", "assistant") is not None
        enable = self.commands.enable
        enable(bool(conversation.id), "chat.rename", "chat.delete", "chat.export", "chat.pin", "chat.archive")
        enable(bool(conversation.id) and link.ready, "chat.print")
        enable(link.ready, "chat.import", "view.presets", "preset.save")
        enable(can_ask and answered, "answer.regenerate", "answer.continue")
        enable(answered, "answer.copy")
        enable(can_ask and self.chat.message("", "user") is not None, "message.edit")
        enable(
            link.ready, "model.open", "model.recommend", "model.get", "model.compress", "view.hardware", "view.network"
        )
        enable(models.loaded is not None and not models.loading, "model.unload")
        self.chat_screen.composer.set_enabled_reason(self._why_not_send())

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
            self._show_page(self.chat_screen)
        self._refresh()

    def show_page(self, page: QWidget) -> None:
        """Show a page in the middle, added when it is first shown."""
        if self.pages.indexOf(page) < 0:
            self.pages.addWidget(page)
        self._show_page(page)
        self.panes.close_drawer()

    def setting(self, name: str) -> object:
        """What was kept of that name; None for nothing."""
        return self._settings.get(name)

    def _show_page(self, page: QWidget) -> None:
        self.pages.setCurrentWidget(page)
        self.commands["view.hardware"].setChecked(page is self._hardware and self._hardware is not None)

    def _bars_changed(self) -> None:
        left, right = self.panes.shown("left"), self.panes.shown("right")
        self.commands["view.sidebar"].setChecked(left)
        self.commands["view.inspector"].setChecked(right)
        docked = left and not self.panes.floats("left")
        self.top_bar.sidebar.setVisible(not docked)
        self.top_bar.new.setVisible(not docked)
        self.top_bar.hardware.setVisible(not self.panes.floats("left"))  # the title needs the room

    def _show_menu(self) -> None:
        if self._menu is None:
            fill = self.commands.fill
            menu = self._menu = QMenu(self)
            fill(
                menu,
                "chat.new",
                "chat.rename",
                "chat.delete",
                "chat.export",
                "chat.print",
                "chat.import",
                "-",
                "answer.regenerate",
                "answer.continue",
            )
            fill(menu, "answer.copy", "message.edit", "answer.follow_ups", "-")
            fill(menu, "model.choose", "model.open", "model.recommend", "model.get", "model.compress")
            fill(menu, "model.unload", "model.serve", "-")
            look = menu.addMenu(self.tr("Appearance"))
            fill(look, "theme.system", "theme.light", "theme.dark", "-", "theme.contrast", "theme.motion", "-")
            fill(look, "view.wrap_code", "-", "view.zoom_in", "view.zoom_out", "view.zoom_reset")
            fill(menu, "view.sidebar", "view.inspector", "view.presets", "view.hardware", "view.network", "-")
            fill(
                menu.addMenu(self.tr("Help")), "app.shortcuts", "view.logs", "app.diagnostics", "-", "app.notify",
            )  # fmt: skip
            fill(menu, "view.palette", "window.new", "app.quit")
        button, menu = self.top_bar.menu, self._menu
        left = button.width() - menu.sizeHint().width() if not self.isRightToLeft() else 0
        menu.popup(button.mapToGlobal(QPoint(left, button.height() + metrics.xs)))

    def _offer_undo(self, conversation: Conversation) -> None:
        title = conversation.title or self.tr("New chat")
        self.toast(
            self.tr("“{0}” was deleted.").format(title if len(title) < 40 else title[:39] + "…"),
            action=self.tr("Undo"),
            run=partial(self.chat.restore, conversation.id),
        )

    def _offer_to_go_on(self, one: Compression) -> None:
        """An earlier engine did not finish it; a wizard that is on the screen shows it by itself."""
        if self._wizard_shown():
            return
        text = self.tr("Making {0}: {1}. Nothing is lost.").format(one.name, state_words(one))
        self.notices.show(_COMPRESSION, text, action=self.tr("Go on"), run=lambda: self.show_wizard().resume(one.id))

    def _compression_ended(self, one: Compression) -> None:
        if one.state == "finished":
            self.models.refresh()
        if self._wizard_shown():
            return
        if one.state == "finished":
            text, action = self.tr("{0} is ready.").format(one.name), self.tr("Look at the result")
            self.notices.show(_COMPRESSION, text, action=action, run=self.show_wizard)
        elif one.state == "failed" and one.error is not None:
            self.notices.show(
                _COMPRESSION, error_words(one.error), level="error", action=self.tr("Show"), run=self.show_wizard,
                details=one.error.details,
            )  # fmt: skip

    def _compression_changed(self) -> None:
        """An unfinished one that goes on, or is gone, is not offered any more."""
        if self.compression.running is not None:
            self.notices.withdraw(_COMPRESSION)

    def _wizard_shown(self) -> bool:
        return self._wizard is not None and self.pages.currentWidget() is self._wizard

    def toast(self, text: str, *, action: str = "", run: Callable[[], object] | None = None) -> None:
        """A passing word at the foot of the page; in the chat it leaves the composer free."""
        in_chat = self.pages.currentWidget() is self.chat_screen
        show_toast(self.chat_screen.view if in_chat else self.pages, text, action=action, on_action=run)

    def _sent(self, _text: str) -> None:
        self._show_page(self.chat_screen)

    # What the commands use

    def open_conversation(self, conversation_id: str) -> None:
        """Show a conversation."""
        self.inspector.flush()
        self.chat.open(conversation_id)
        self.show_chat()

    def show_chat(self) -> None:
        """Show the chat in the middle, ready to type."""
        if self.pages.currentWidget() is not self.failed_page:
            self._show_page(self.chat_screen)
        self.panes.close_drawer()
        self._focus_composer()

    def toggle_bar(self, side: str) -> None:
        """Show or hide a side bar, and remember it where it is not a drawer."""
        self.panes.toggle(side)
        self._bars_changed()
        self.keep(sidebar_visible=self.panes.wanted("left"), inspector_visible=self.panes.wanted("right"))

    def toggle_hardware(self) -> None:
        """Show the hardware page, built when it is first wanted; or the chat again."""
        if self._hardware is not None and self.pages.currentWidget() is self._hardware:
            self._show_page(self.chat_screen)
            return
        if self._hardware is None:
            self._hardware = HardwarePage(self.link)
            self.pages.addWidget(self._hardware)
        self._show_page(self._hardware)
        self.panes.close_drawer()

    def toggle_wizard(self) -> None:
        """Show the wizard that makes a model smaller, built when it is first wanted; or the chat again."""
        if self._wizard is not None and self.pages.currentWidget() is self._wizard:
            self.show_chat()
            return
        self.show_wizard()

    def show_wizard(self) -> WizardPage:
        """The wizard, on the screen."""
        if self._wizard is None:
            self._wizard = WizardPage(self.compression)
            self._wizard.use_requested.connect(self._use_build)
            self._wizard.close_requested.connect(self.show_chat)
            self.pages.addWidget(self._wizard)
        self.notices.withdraw(_COMPRESSION)
        self._show_page(self._wizard)
        self.panes.close_drawer()
        return self._wizard

    def toggle_network(self) -> None:
        """Show what leaves this machine, built when it is first wanted; or the chat again."""
        if self._network is not None and self.pages.currentWidget() is self._network:
            self.show_chat()
            return
        if self._network is None:
            self._network = NetworkPage(self.link)
            self._network.switched.connect(lambda values: self.keep(**values))
            self._network.close_requested.connect(self.show_chat)
            self.pages.addWidget(self._network)
        self._show_page(self._network)
        self.panes.close_drawer()

    def toggle_downloads(self) -> None:
        """Show the page that fetches models, built when it is first wanted; or the chat again."""
        if self._download_page is not None and self.pages.currentWidget() is self._download_page:
            self.show_chat()
            return
        self.show_downloads()

    def show_downloads(self) -> DownloadPage:
        """The page that fetches models."""
        if self._download_page is None:
            self._download_page = DownloadPage(self.downloads)
            self._download_page.use_requested.connect(self._use_build)
            self._download_page.close_requested.connect(self.show_chat)
            self._download_page.recommend_requested.connect(self.first_model.show)
            self._download_page.folder.moved.connect(self.models.refresh)
            self.pages.addWidget(self._download_page)
        self.notices.withdraw(_DOWNLOAD)
        self._show_page(self._download_page)
        self.panes.close_drawer()
        return self._download_page

    def _download_ended(self, one: Download) -> None:
        if one.state == "finished":
            self.models.refresh()
        if self.first_model.shown and self.first_model.brings(one):
            return
        if self._download_page is not None and self.pages.currentWidget() is self._download_page:
            return
        name = one.repository.split("/")[-1]
        if one.state == "finished":
            text = self.tr("{0} is here.").format(name)
            use = partial(self._use_build, one.path)
            run, action = (
                (self.first_model.show, self.tr("Try it")) if self.first_model.brings(one) else (use, self.tr("Use it"))
            )
            self.notices.show(_DOWNLOAD, text, action=action, run=run)
        elif one.error is not None:
            self.notices.show(
                _DOWNLOAD, error_words(one.error), level="error", action=self.tr("Show"), run=self.show_downloads,
                details=one.error.details,
            )  # fmt: skip

    def _use_build(self, path: str) -> None:
        self.models.load_path(path)
        self.show_chat()

    def _menu_commands(self) -> list[tuple[QAction, str]]:
        known = {
            "model.recommend": "search", "model.get": "download", "model.open": "folder", "model.compress": "compress",
        }  # fmt: skip
        return [(self.commands[name], icon) for name, icon in known.items()]

    def toggle_model_menu(self) -> None:
        """Open or close the menu of models, built when it is first wanted."""
        if self._model_menu is None:
            self._model_menu = ModelMenu(self.models.list, self._menu_commands(), self)
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

    def _focus_composer(self) -> None:
        if self.pages.currentWidget() is self.chat_screen:
            self.chat_screen.focus_composer()


def _places(text: object) -> dict[str, float]:
    """Where the sliders of models stood, as the settings have it; what is not that is nothing."""
    try:
        found = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {}
    places = found.items() if isinstance(found, dict) else ()
    return {path: float(place) for path, place in places if isinstance(place, int | float) and 0 <= place <= 1}
