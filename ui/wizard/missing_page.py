"""What is shown where the packages are not installed: how large they are, and the command that brings them."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from ui.theme import bind_icon, metrics
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.words import size
from ui.widgets import show_toast, text_label

__all__ = ["MissingPage"]


class MissingPage(QWidget):
    """Nothing is fetched from here: the person runs the command, or does not."""

    def __init__(self, session: CompressionSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.text = text_label("", wrap=True)
        self.command = QLineEdit()
        self.command.setReadOnly(True)
        self.command.setFont(metrics.font("code"))
        self.command.setAccessibleName(self.tr("Command"))
        self.copy = QPushButton(self.tr("Copy"))
        bind_icon(self.copy, "copy", "muted")
        self.copy.setAccessibleName(self.tr("Copy the command"))
        self.copy.clicked.connect(self._copy)
        self.folder = text_label("", "secondary", wrap=True)
        self.folder.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.again = QPushButton(self.tr("Look again"))
        bind_icon(self.again, "retry", "muted")
        self.again.clicked.connect(session.refresh)
        line = QHBoxLayout()
        line.setSpacing(metrics.s)
        line.addWidget(self.command, 1)
        line.addWidget(self.copy)
        card = QFrame()
        card.setProperty("card", "surface")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(metrics.l, metrics.l, metrics.l, metrics.l)
        inside.setSpacing(metrics.m)
        inside.addWidget(text_label(self.tr("One part is not installed"), "heading", wrap=True))
        inside.addWidget(self.text)
        inside.addLayout(line)
        inside.addWidget(self.folder)
        inside.addWidget(self.again, 0, Qt.AlignmentFlag.AlignLeading)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(card)
        column.addStretch(1)
        self.refresh()

    def refresh(self) -> None:
        """Show the session's status."""
        status = self._session.status
        if status is None:
            return
        self.text.setText(
            self.tr(
                "Making models smaller needs PyTorch, which chatting does not. It is a download of about {0}; on Linux "
                "with an NVIDIA graphics card it is several times that. Nutshell does not fetch anything by itself: "
                "close it, run this command in a terminal, and open it again."
            ).format(size(status.packages_bytes))
        )
        self.command.setText(status.command)
        self.command.setCursorPosition(0)
        self.folder.setText(self.tr("In the folder {0}").format(status.folder))

    def focus_first(self) -> None:
        """The keyboard to the one main action."""
        self.copy.setFocus(Qt.FocusReason.OtherFocusReason)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.command.text())
        show_toast(self.window(), self.tr("The command was copied."))
