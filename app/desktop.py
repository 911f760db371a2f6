"""The running window: puts engine, link, settings and main window together, and takes them apart in order."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from PySide6.QtCore import QEvent, QObject, QTimer, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from app.engine_options import engine_arguments, engine_environment
from app.quit_signals import QuitSignals
from app.single_instance import Doorbell
from app.supervisor import Died, EngineState, Failed, Ready, Starting, Stopped, Supervisor
from app.windows import Windows
from backend.api.client import Client
from backend.api.errors import NutshellError, PortInUseError
from backend.api.schemas import BackendStatus, HardwareReport, LoadedModel
from backend.config import logging as log_files
from backend.config.paths import Paths
from backend.config.settings import Settings
from backend.hub.catalogue import builtin_file
from ui.bridge.engine_link import EngineLink
from ui.logs.log_page import About
from ui.main_window import MainWindow
from ui.shell.notifier import Notifier
from ui.theme import apply_theme

__all__ = ["Desktop"]

_log = logging.getLogger("nutshell.window")

_LAST_WORDS_S = 0.5  # for drafts, which take 1 ms; the window is hidden already


class Desktop(QObject):
    """The windows with their engine process.

    Attributes:
        windows: all windows. window: the one that it started with. link: their link to the engine.
        supervisor: what keeps the engine alive.
        settings: what the user chose, saved as it changes.
        faults: what nobody foresaw and was logged.
        shown: set when the window has been painted. closing: set when the program is to end.
        exit_code: for the process, once `run` has returned.
    """

    def __init__(
        self,
        app: QApplication,
        supervisor: Supervisor,
        settings: Settings,
        where: Paths,
        notices: list[str],
        model: Path | None = None,
    ) -> None:
        super().__init__()
        self.exit_code = 0
        self.faults: list[BaseException] = []
        self.supervisor = supervisor
        self.settings = settings
        self.shown = asyncio.Event()
        self._app = app
        self._where = where
        self._notices = [*settings.notices, *notices]
        self._client: Client | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._model = model  # the file that the next engine loads
        self._serve = True  # as the settings say; False once the port was found taken
        self._served = False  # the user asked for it just now and is to be told the address
        self._model_came = False  # since the engine was started
        self.closing = asyncio.Event()
        self._doorbell: Doorbell | None = None
        app.setApplicationName("nutshell")
        app.setApplicationDisplayName("Nutshell")
        app.setDesktopFileName("nutshell")
        app.setQuitOnLastWindowClosed(False)  # the engine is ended first, in the loop
        apply_theme(
            app,
            settings.theme,
            zoom=settings.zoom,
            reduced_motion=settings.reduced_motion,
            high_contrast=settings.high_contrast,
            wrap_code=settings.wrap_code,
        )
        self.link = EngineLink(self)
        self.link.attached.connect(self._attached)
        self.link.model_changed.connect(self._model_changed)
        self.windows = Windows(self._make_window, self._save)
        self.window = self.windows.first()
        self.window.installEventFilter(self)
        self.notifier = Notifier(self.link, lambda: self.settings.notify, self.raise_window, self)

    async def run(self, script: Callable[[Desktop], Awaitable[None]] | None = None) -> None:
        """Shows the window and returns when it was closed and the engine has ended.

        Args:
            script: drives the window in place of a person; the window closes when it returns.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._loop_failed)
        old_hook, sys.excepthook = sys.excepthook, self._unexpected
        signals = QuitSignals(self.close, self)
        self._app.lastWindowClosed.connect(self.close)
        acting = None if script is None else loop.create_task(self._act(script))
        try:
            self.supervisor.begin(self._engine_changed)
            self.window.show()
            await self.closing.wait()
            self.windows.hide()  # at once; what follows may take two seconds
            await self._end()
            if acting is not None:
                await acting
        finally:
            signals.close()
            sys.excepthook = old_hook

    def close(self) -> None:
        """Ends the program."""
        self.closing.set()

    def raise_window(self) -> None:
        """Brings the window that was used last in front of the others."""
        self.windows.raise_window()

    def _make_window(self, save: Callable[[dict[str, Any]], None], further: bool) -> MainWindow:
        about = About(self._where.logs, self._describe)
        values = self.settings.as_dict()
        if further:  # what was not sent comes back once
            values |= {"new_chat_draft": "", "unsent_files": ""}
        window = MainWindow(self.link, values, save, about=about)
        window.restart_requested.connect(self._try_again)
        window.serve_requested.connect(self._serve_changed)
        return window

    def _describe(self, report: HardwareReport | None) -> str:
        from app.diagnostics import describe

        qt = f"{qVersion()} on {QGuiApplication.platformName()}"
        return describe(self.settings, self._where, report, qt=qt, state=self.link.state)

    # -- starting and ending

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notices the window's first paint."""
        if event.type() == QEvent.Type.Paint and not self.shown.is_set():
            self.shown.set()
            watched.removeEventFilter(self)
            QTimer.singleShot(0, self, self._after_first_paint)
        return False

    def _after_first_paint(self) -> None:
        """What nobody waits for, once the window is there."""
        log_files.configure(self._where.logs, "window")
        self._doorbell = Doorbell(self._where.data, self.raise_window)
        for notice in self._notices:
            self.link.notice.emit("warning", notice)

    async def _act(self, script: Callable[[Desktop], Awaitable[None]]) -> None:
        try:
            await script(self)
        finally:
            self.close()

    async def _end(self) -> None:
        if self._doorbell is not None:
            self._doorbell.close()
        for window in self.windows.all:
            window.keep_texts()
        await self.link.finish(_LAST_WORDS_S)
        await self.link.close()
        await self.supervisor.stop()
        self._drop_client()
        await asyncio.gather(*self._closing, return_exceptions=True)
        self.notifier.hide()
        for window in self.windows.all:
            window.close()

    # -- the engine's states

    def _engine_changed(self, state: EngineState) -> None:
        match state:
            case Starting(attempt=1):
                self._model_came = False
                self.link.starting()
            case Starting():
                self._model_came = False
            case Ready(handshake=handshake):
                self._client = Client(handshake.base_url, handshake.token)
                self.link.attach(self._client)
            case Died():
                self._died(state)
            case Failed(error=PortInUseError() as error) if self._serve and self.settings.serve_enabled:
                self._without_serving(error)
            case Failed(error=error):
                _log.error("the engine was given up: %s [%s]", error, error.details)
                self.link.fail(error)
                self._drop_client()
            case Stopped():
                self.link.detach(self.tr("The engine has ended."))

    def _died(self, state: Died) -> None:
        _log.warning("the engine died: %s", state.reason)
        saved = self.tr("Your text is saved.") if state.was_ready else ""
        again = self.tr("It is starting again…")
        self.link.detach(" ".join(part for part in (state.reason, saved, again) if part))
        self._drop_client()
        if self._model is not None and state.was_ready and not self._model_came:
            # A model that ends the engine while it is read would end it again each time.
            name = self._model.name
            self._use_model(None)
            self.link.notice.emit(
                "error",
                self.tr(
                    "The engine stopped while it was loading {0}, so it starts without a model. "
                    "Choose another one in the model menu."
                ).format(name),
            )

    def _try_again(self) -> None:
        self._later(self.supervisor.restart())

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._later(client.close())

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- the model, to bring it back after a crash and at the next start

    def _attached(self, status: BackendStatus) -> None:
        if status.model is not None:
            self._remember(status.model)
        if self._served:
            self._served = False
            address = f"http://127.0.0.1:{self.settings.serve_port}/v1"
            self.link.notice.emit(
                "info", self.tr("Other programs on this computer can use the model at {0}.").format(address)
            )

    def _model_changed(self, model: LoadedModel | None) -> None:
        if model is None:
            self._use_model(None)
        else:
            self._remember(model)

    def _remember(self, model: LoadedModel) -> None:
        self._model_came = True
        path = Path(model.entry.path)
        self._use_model(path)
        builtin = builtin_file(self._where.models)
        self._save({"last_model": "" if builtin is not None and path == builtin else str(path)})

    def _use_model(self, path: Path | None) -> None:
        self._model = path
        self.supervisor.arguments = engine_arguments(self.settings, path, serve=self._serve)
        self.supervisor.env = engine_environment(self.settings)

    # -- the model for other programs

    def _serve_changed(self, serve: bool) -> None:
        """The engine's port is chosen at its start, so it starts again; the chat stays."""
        self._save({"serve_enabled": serve})
        self._serve, self._served = True, serve
        self._use_model(self._model)
        self.link.detach(self.tr("The engine is starting again…"))
        self._drop_client()
        self._later(self.supervisor.restart())

    def _without_serving(self, error: PortInUseError) -> None:
        self._serve = self._served = False
        self._use_model(self._model)
        sentence = self.tr("The model is not offered to other programs this time.")
        self.link.notice.emit("warning", f"{error.what} {sentence}")
        self._later(self.supervisor.restart())

    def _save(self, values: dict[str, Any]) -> None:
        """Keeps settings that changed. A folder that cannot be written is said once, at the start, by the engine."""
        changed = {name: value for name, value in values.items() if self.settings.as_dict().get(name) != value}
        if not changed:
            return
        try:
            for name, value in changed.items():
                self.settings.set(name, value)
            self.settings.save()
        except NutshellError as error:
            _log.warning("settings were not saved: %s [%s]", error, error.details)

    # -- what nobody foresaw

    def _unexpected(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self.close()
            return
        self.faults.append(error)
        _log.error("a fault in the window", exc_info=(kind, error, trace))
        self.link.notice.emit(
            "error",
            self.tr(
                "Something went wrong inside Nutshell. Your conversations are safe; the log says more ({0})."
            ).format(str(self._where.logs / "window.log")),
        )

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self._unexpected(type(error), error, error.__traceback__)
        else:
            _log.error("a fault in the event loop: %s", context.get("message"))
