"""A file that was given with a message, large: a picture, or the text that was read out of it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QImage, QPixmap
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ui.theme import metrics
from ui.widgets.labels import ElidedLabel

__all__ = ["FileViewer"]

_SIZE = (760, 560)


class FileViewer(QDialog):
    """Shows `image`, or else `text`; "Copy" copies it. It deletes itself when it is closed."""

    def __init__(self, parent: QWidget | None, name: str, *, text: str = "", image: QImage | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(name)
        self._text, self._image = text, image
        title = ElidedLabel(name, "heading", mode=Qt.TextElideMode.ElideMiddle)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.l, metrics.l, metrics.l, metrics.l)
        column.setSpacing(metrics.m)
        column.addWidget(title)
        self.body: QWidget
        if image is not None:
            label = QLabel()
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setPixmap(QPixmap.fromImage(image))
            label.setAccessibleName(name)
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setWidget(label)
            self.body = area
        else:
            field = QPlainTextEdit()
            field.setReadOnly(True)
            field.setPlainText(text)
            field.setTabChangesFocus(True)
            field.setAccessibleName(self.tr("Text of {0}").format(name))
            self.body = field
        column.addWidget(self.body, 1)
        copy = QPushButton(self.tr("Copy"))
        copy.setAutoDefault(False)
        copy.clicked.connect(self._copy)
        close = QPushButton(self.tr("Close"))
        close.setDefault(True)
        close.clicked.connect(self.accept)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(copy)
        row.addWidget(close)
        column.addLayout(row)
        self.resize(metrics.px(_SIZE[0]), metrics.px(_SIZE[1]))

    def _copy(self) -> None:
        if self._image is not None:
            QGuiApplication.clipboard().setImage(self._image)
        else:
            QGuiApplication.clipboard().setText(self._text)
