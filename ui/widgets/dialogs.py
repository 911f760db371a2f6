"""Questions: a confirmation, and the question before a link leaves the program."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLineEdit, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from ui.theme import metrics
from ui.widgets.labels import text_label
from ui.widgets.toast import show_toast

__all__ = ["ConfirmDialog", "LinkDialog", "NameDialog", "confirm", "link_refusal", "open_link", "visible_address"]

_SAFE_SCHEMES = frozenset({"http", "https", "mailto"})
_WIDTH = 440
_ADDRESS_HEIGHT = 84


class ConfirmDialog(QDialog):
    """A question with one action and Cancel. Cancel has the focus, so that Enter alone harms nothing."""

    def __init__(
        self,
        parent: QWidget | None,
        title: str,
        text: str,
        *,
        action: str,
        cancel: str = "",
        body: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setModal(True)
        heading = text_label(title, "heading", wrap=True)
        words = text_label(text, wrap=True)
        self.cancel_button = QPushButton(cancel or self.tr("Cancel"))
        self.cancel_button.clicked.connect(self.reject)
        self.action_button = QPushButton(action)
        self.action_button.setProperty("kind", "primary")
        self.action_button.setAutoDefault(False)
        self.action_button.clicked.connect(self.accept)
        row = self.button_row = QHBoxLayout()
        row.setSpacing(metrics.s)
        row.addStretch(1)
        row.addWidget(self.cancel_button)
        row.addWidget(self.action_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.xl, metrics.xl, metrics.xl, metrics.l)
        column.setSpacing(metrics.m)
        column.addWidget(heading)
        if text:
            column.addWidget(words)
        if body is not None:
            column.addWidget(body)
        column.addLayout(row)
        self.setMinimumWidth(metrics.px(_WIDTH))
        self.cancel_button.setDefault(True)
        self.cancel_button.setFocus()


class NameDialog(ConfirmDialog):
    """Asks for a name. It deletes itself when it is closed.

    Signals:
        named(str): the name, which is not empty.
    """

    named = Signal(str)

    def __init__(self, parent: QWidget | None, title: str, *, label: str, action: str, name: str = "") -> None:
        self.field = QLineEdit(name)
        self.field.setMaxLength(200)
        self.field.setAccessibleName(label)
        self.field.setPlaceholderText(label)
        super().__init__(parent, title, "", action=action, body=self.field)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.action_button.setDefault(True)
        self.field.textChanged.connect(lambda text: self.action_button.setEnabled(bool(text.strip())))
        self.action_button.setEnabled(bool(name.strip()))
        self.accepted.connect(lambda: self.named.emit(self.field.text().strip()))
        self.field.setFocus()


def confirm(parent: QWidget | None, title: str, text: str, *, action: str) -> bool:
    """Asks and waits; whether the action was chosen."""
    dialog = ConfirmDialog(parent, title, text, action=action)
    try:
        return dialog.exec() == QDialog.DialogCode.Accepted
    finally:
        dialog.deleteLater()


def visible_address(url: str) -> str:
    """An address in which nothing hides: control, format and bidirectional characters are percent-encoded."""
    shown = []
    for character in url:
        if character.isprintable():
            shown.append(character)
        else:
            shown.extend(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))
    return "".join(shown)


def link_refusal(url: str) -> str:
    """Why an address is not opened, one sentence; "" if it may be asked about."""
    scheme = QUrl(url.strip(), QUrl.ParsingMode.TolerantMode).scheme().lower()
    if scheme in _SAFE_SCHEMES:
        return ""
    say = QCoreApplication.translate
    if not scheme:
        return say("Links", "This link has no full web address, so it cannot be opened.")
    return say("Links", "Links of the kind “{0}:” are not opened, only web pages and mail addresses.").format(
        scheme[:20]
    )


class LinkDialog(ConfirmDialog):
    """Asks before an address is handed to the browser or the mail program, and shows all of it."""

    def __init__(self, parent: QWidget | None, url: str) -> None:
        self._url = QUrl(url.strip(), QUrl.ParsingMode.TolerantMode)
        # Encoded: an internationalised host shows its ASCII form, which look-alike letters cannot imitate.
        exact = bytes(self._url.toEncoded().data()).decode("ascii", "replace")
        address = QPlainTextEdit(visible_address(exact))
        address.setReadOnly(True)
        address.setFont(metrics.font("code"))
        address.setMaximumHeight(metrics.px(_ADDRESS_HEIGHT))
        address.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        address.setTabChangesFocus(True)
        self.address = address
        mail = self._url.scheme().lower() == "mailto"
        super().__init__(
            parent,
            self.tr("Open this link?"),
            self.tr("It opens in your mail program:") if mail else self.tr("It opens in your web browser:"),
            action=self.tr("Open"),
            body=address,
        )
        address.setAccessibleName(self.tr("Address"))
        copy = QPushButton(self.tr("Copy address"))
        copy.setAutoDefault(False)
        copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(exact))
        self.button_row.insertWidget(0, copy)

    def url(self) -> QUrl:
        """The address that Open hands on."""
        return self._url


def open_link(parent: QWidget, url: str) -> None:
    """Asks, then opens an http, https or mail address; anything else is refused with a sentence."""
    refusal = link_refusal(url)
    if refusal:
        show_toast(parent.window(), refusal)
        return
    dialog = LinkDialog(parent.window(), url)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.accepted.connect(lambda: QDesktopServices.openUrl(dialog.url()))
    dialog.open()
