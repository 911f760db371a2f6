"""The hub's token in Settings: where it comes from, entering one, forgetting it. What is typed is shown to nobody."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from backend.api.hub_schemas import NewToken, TokenState
from backend.api.schemas import ErrorInfo
from ui.bridge.engine_link import EngineLink
from ui.theme import metrics
from ui.widgets import HoverButton, text_label

__all__ = ["TokenPanel"]


class TokenPanel(QWidget):
    """Signals: problem(ErrorInfo): a request that failed."""

    problem = Signal(object)

    def __init__(self, link: EngineLink, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.known: TokenState | None = None
        self.words = text_label("", "secondary", wrap=True)
        self.field = QLineEdit()
        self.field.setEchoMode(QLineEdit.EchoMode.Password)
        self.field.setMaxLength(600)
        self.field.setPlaceholderText(self.tr("Access token, begins with hf_"))
        self.field.setAccessibleName(self.tr("Access token for the model hub"))
        self.field.textChanged.connect(self._typed)
        self.field.returnPressed.connect(self._keep)
        self.keep_button = QPushButton(self.tr("Keep"))
        self.keep_button.setAccessibleName(self.tr("Keep the token in the system's keyring"))
        self.keep_button.setEnabled(False)
        self.keep_button.clicked.connect(self._keep)
        self.forget_button = HoverButton(self.tr("Forget the token"), icon="trash")
        self.forget_button.clicked.connect(self._forget)
        self._entry = QWidget()
        line = QHBoxLayout(self._entry)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(metrics.s)
        line.addWidget(self.field, 1)
        line.addWidget(self.keep_button)
        forget = QHBoxLayout()
        forget.addWidget(self.forget_button)
        forget.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        column.addWidget(text_label(self.tr("Account at the model hub"), "heading"))
        column.addWidget(self.words)
        column.addWidget(self._entry)
        column.addLayout(forget)
        self._entry.hide()
        self.forget_button.hide()

    def refresh(self) -> None:
        """Ask where the token comes from."""
        self._link.run(lambda engine: engine.hub_token(), success=self.show_state, quiet=True)

    def show_state(self, state: TokenState) -> None:
        """How it is now."""
        self.known = state
        said = {
            "environment": self.tr("The token of the variable HF_TOKEN is used; it goes before one that is kept here."),
            "keyring": self.tr("A token is kept in the keyring of this system ({0}).").format(state.keyring),
            "login": self.tr("The token that hf auth login left on this machine is used."),
            "none": self.tr("Most models need no account. Some ask for one: for those, enter an access token of it."),
        }[state.source]
        to = self.tr("It goes to {0} and to no other machine.").format(state.endpoint)
        missing = self.tr("None can be kept here, and Nutshell writes no secret into a file of its own:")
        words = [said, *([to] if state.source != "none" else [])]
        if state.why:
            words += [missing, state.why] if not state.keyring else [state.why]
        self.words.setText(" ".join(words))
        self._entry.setVisible(bool(state.keyring))
        self.forget_button.setVisible(state.source == "keyring")
        self._typed()

    def _typed(self) -> None:
        self.keep_button.setEnabled(bool(self.field.text().strip()))

    def _keep(self) -> None:
        new = NewToken(token=self.field.text())
        if new.token.strip():
            self.keep_button.setEnabled(False)
            self._link.run(lambda engine: engine.set_hub_token(new), success=self._kept, failure=self._refused)

    def _kept(self, state: TokenState) -> None:
        self.field.clear()
        self.show_state(state)

    def _forget(self) -> None:
        self._link.run(lambda engine: engine.forget_hub_token(), success=self.show_state, failure=self._refused)

    def _refused(self, error: ErrorInfo) -> None:
        self._typed()
        self.problem.emit(error)
