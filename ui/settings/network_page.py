"""What leaves this machine: a switch for all of it, one for each purpose, and what was asked of whom."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from backend.api.downloads import NetworkCall, NetworkState
from backend.api.schemas import BackendStatus, ErrorInfo
from ui.bridge.engine_link import EngineLink
from ui.settings.token_panel import TokenPanel
from ui.theme import metrics
from ui.viewmodels.words import error_words
from ui.widgets import ElidedLabel, HoverButton, IconButton, NoticeBar, text_label
from ui.widgets.page import fill_with_page

__all__ = ["NetworkPage"]

_WIDEST = 820
_SHOWN = 100


class NetworkPage(QWidget):
    """Reads the engine's switches and log when it is shown.

    Signals:
        switched(dict): settings to keep: `offline`, and `network_PURPOSE` for each purpose.
        close_requested: back to the chat.
    """

    switched = Signal(dict)
    close_requested = Signal()

    def __init__(self, link: EngineLink, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self._state = NetworkState(offline=False)
        self.close_button = IconButton("close", self.tr("Back to the chat"))
        self.close_button.clicked.connect(self.close_requested)
        head = QHBoxLayout()
        head.addWidget(text_label(self.tr("Network"), "title"), 1)
        head.addWidget(self.close_button)
        self.notice = NoticeBar(closable=True)
        self.offline = QCheckBox(self.tr("Offline: nothing leaves this machine"))
        self.offline.clicked.connect(self._switch)
        self.purposes: dict[str, QCheckBox] = {}
        self._switches = QVBoxLayout()
        self._switches.setSpacing(metrics.s)
        self.token = TokenPanel(link)
        self.token.problem.connect(self._problem)
        self.refresh_button = HoverButton(self.tr("Refresh"), icon="retry")
        self.refresh_button.clicked.connect(self.refresh)
        asked = QHBoxLayout()
        asked.addWidget(text_label(self.tr("Asked since the start"), "heading"), 1)
        asked.addWidget(self.refresh_button)
        self.none = text_label(self.tr("Nothing was asked of any other machine."), "muted", wrap=True)
        self._calls = QVBoxLayout()
        self.log: QWidget | None = None

        page = QWidget()
        page.setMaximumWidth(metrics.px(_WIDEST))
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        column.addLayout(head)
        column.addWidget(
            text_label(
                self.tr(
                    "Chats, texts and models stay on this machine. Nutshell asks other machines for what is listed "
                    "here, and for nothing else."
                ),
                "muted",
                wrap=True,
            )
        )
        column.addWidget(self.notice)
        column.addWidget(self.offline)
        column.addLayout(self._switches)
        column.addSpacing(metrics.m)
        column.addWidget(self.token)
        column.addSpacing(metrics.m)
        column.addLayout(asked)
        column.addWidget(self.none)
        column.addLayout(self._calls)
        column.addStretch(1)
        fill_with_page(self, page)
        link.attached.connect(self._attached)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Read the switches and the log again."""
        self._link.run(lambda engine: engine.network(), success=self.show_state, failure=self._problem)
        self.token.refresh()

    def show_state(self, state: NetworkState) -> None:
        """How it is now."""
        self._state = state
        self.offline.setChecked(state.offline)
        for purpose, words in state.purposes.items():
            box = self.purposes.get(purpose)
            if box is None:
                box = self.purposes[purpose] = QCheckBox()
                box.clicked.connect(self._switch)
                self._switches.addWidget(box)
            box.setText(words)
            box.setChecked(purpose not in state.off)
            box.setEnabled(not state.offline)
        self._show_calls(state.calls[:_SHOWN])

    def _switch(self) -> None:
        wanted = NetworkState(
            offline=self.offline.isChecked(),
            off=[purpose for purpose, box in self.purposes.items() if not box.isChecked()],
        )
        self._link.run(lambda engine: engine.set_network(wanted), success=self._switched, failure=self._refused)

    def _switched(self, state: NetworkState) -> None:
        self.show_state(state)
        kept: dict[str, object] = {f"network_{purpose}": purpose not in state.off for purpose in state.purposes}
        self.switched.emit({"offline": state.offline, **kept})

    def _refused(self, error: ErrorInfo) -> None:
        self.show_state(self._state)  # the boxes say what holds, not what was wished
        self._problem(error)

    def _problem(self, error: ErrorInfo) -> None:
        sentence = error_words(error)
        self.notice.set_notice(sentence, level="error", details=error.details)

    def _attached(self, _status: BackendStatus) -> None:
        if self.isVisible():
            self.refresh()

    def _show_calls(self, calls: list[NetworkCall]) -> None:
        if self.log is not None:
            self._calls.removeWidget(self.log)
            self.log.deleteLater()
            self.log = None
        self.none.setVisible(not calls)
        if not calls:
            return
        self.log = QWidget()
        grid = QGridLayout(self.log)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(metrics.l)
        grid.setVerticalSpacing(metrics.xs)
        grid.setColumnStretch(2, 1)
        for row, call in enumerate(calls):
            when = datetime.fromtimestamp(call.at).strftime("%H:%M:%S")
            grid.addWidget(text_label(when, "secondary"), row, 0)
            grid.addWidget(text_label(call.host), row, 1)
            grid.addWidget(ElidedLabel(f"{call.method} {call.path}", "secondary"), row, 2)
            outcome = str(call.status) if call.status else self.tr("not allowed")
            grid.addWidget(text_label(outcome, "secondary" if call.status else "warn"), row, 3)
        self._calls.addWidget(self.log)
