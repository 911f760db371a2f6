"""Files as small cards, in rows: those that wait to be sent, and those that were."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRect, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QStyle, QVBoxLayout, QWidget

from ui.theme import color, metrics, pixmap, theme_changed
from ui.widgets.buttons import HoverButton, IconButton
from ui.widgets.labels import ElidedLabel, Tone, set_tone, text_label

__all__ = ["PICTURE_PX", "ChipFlow", "FileChip"]

_NAME_PX = 190
#: the longer side of a picture in a message, in pixels at 100 %
PICTURE_PX = 160
_THUMB_PX = 32


class FileChip(QWidget):
    """One file: a sign or a small picture, its name, and a muted line about it.

    Signals:
        opened: it was clicked, or chosen from the keyboard.
        removed: its cross. text_wanted: "As text" of a pasted text.
    """

    opened = Signal()
    removed = Signal()
    text_wanted = Signal()

    def __init__(
        self, parent: QWidget, name: str, about: str, *, removable: bool = False, pasted: bool = False
    ) -> None:
        super().__init__(parent)
        self.name = name
        self._opens = not removable
        self._pictured = False
        self.sign = QLabel(self)
        self.title = ElidedLabel(name, "", mode=Qt.TextElideMode.ElideMiddle)
        self.about = ElidedLabel(about, "secondary")
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addStretch(1)
        words.addWidget(self.title)
        words.addWidget(self.about)
        words.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(metrics.s, metrics.xs, metrics.xs if removable else metrics.m, metrics.xs)
        row.setSpacing(metrics.s)
        row.addWidget(self.sign)
        row.addLayout(words, 1)
        self.text_button = HoverButton(self.tr("As text"), self) if pasted else None
        if self.text_button is not None:
            self.text_button.setAccessibleName(self.tr("Paste {0} as text").format(name))
            self.text_button.clicked.connect(self.text_wanted)
            row.addWidget(self.text_button)
        self.remove = IconButton("close", self.tr("Do not attach {0}").format(name), self) if removable else None
        if self.remove is not None:
            self.remove.clicked.connect(self.removed)
            row.addWidget(self.remove)
        if self._opens:
            self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            self.setCursor(Qt.CursorShape.PointingHandCursor)
        theme_changed.connect(self._restyle)
        self._restyle()
        self._say()

    def set_about(self, about: str) -> None:
        """Other words about the file."""
        self.about.setText(about)
        self._say()

    def set_picture(self, picture: QPixmap, *, large: bool = False) -> None:
        """A small picture in place of the sign; `large`: at its own size."""
        if picture.isNull():
            return
        self._pictured = True
        if not large:
            side = metrics.px(_THUMB_PX)
            picture = picture.scaled(
                side, side, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
        self.sign.setPixmap(picture)

    def wanted(self) -> QSize:
        """Its size where there is room."""
        extra = sum(
            button.sizeHint().width() + metrics.s for button in (self.text_button, self.remove) if button is not None
        )
        text = max(self.title.sizeHint().width(), self.about.sizeHint().width())
        sign = self.sign.pixmap().deviceIndependentSize().toSize()
        width = sign.width() + min(text, metrics.px(_NAME_PX)) + extra + 3 * metrics.s + metrics.xs
        return QSize(width, max(self.layout_height(), sign.height() + 2 * metrics.xs))

    def layout_height(self) -> int:
        """The height of its two lines, in pixels."""
        return self.title.sizeHint().height() + self.about.sizeHint().height() + 2 * metrics.xs + 2

    def _restyle(self) -> None:
        if not self._pictured:
            self.sign.setPixmap(pixmap("file", "muted", self.devicePixelRatioF()))
        self.update()

    def _say(self) -> None:
        self.setAccessibleName(", ".join(part for part in (self.name, self.about.text()) if part))
        self.setToolTip(self.accessibleName())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if (
            self._opens
            and event.button() == Qt.MouseButton.LeftButton
            and self.rect().contains(event.position().toPoint())
        ):
            self.opened.emit()
            event.accept()
            return
        super().mouseReleaseEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self._opens and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.opened.emit()
            event.accept()
            return
        super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        focused = self.hasFocus()
        width = metrics.focus_width if focused else 1
        painter.setPen(QPen(color("accent" if focused else "line"), width))
        painter.setBrush(color("surface" if self._opens else "raised"))
        inset = width / 2
        area = self.rect().toRectF().adjusted(inset, inset, -inset, -inset)
        painter.drawRoundedRect(area, metrics.radius_card, metrics.radius_card)


class ChipFlow(QWidget):
    """Chips side by side, in as many rows as they need; from the right where one reads from the right."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._chips: list[FileChip] = []
        self._note = text_label("", "secondary", self, wrap=True)
        self._note.hide()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def chips(self) -> list[FileChip]:
        """The chips, first to last."""
        return list(self._chips)

    def note(self) -> str:
        """The sentence under the chips."""
        return self._note.text()

    def set_chips(self, chips: Sequence[FileChip], note: str = "", tone: Tone = "secondary") -> None:
        """Other chips, children of this widget, and a sentence under them."""
        for old in self._chips:
            if old not in chips:
                old.hide()
                old.deleteLater()
        self._chips = list(chips)
        set_tone(self._note, tone)
        self._note.setText(note)
        self._note.setVisible(bool(note))
        for chip in self._chips:
            chip.show()

    def arrange(self, width: int) -> int:
        """Places the chips in `width` pixels; returns the height they need."""
        gap, x, y, tall = metrics.s, 0, 0, 0
        whole = QRect(0, 0, width, 1)
        for chip in self._chips:
            size = chip.wanted()
            chip_width = min(size.width(), width)
            if x and x + chip_width > width:
                x, y, tall = 0, y + tall + gap, 0
            place = QRect(x, y, chip_width, size.height())
            chip.setGeometry(QStyle.visualRect(self.layoutDirection(), whole, place))
            x += chip_width + gap
            tall = max(tall, size.height())
        y += tall
        if self._note.text():
            height = self._note.heightForWidth(width)
            self._note.setGeometry(0, y + metrics.xs, width, height)
            y += metrics.xs + height
        return y

    def fit(self) -> None:
        """Takes the height that its chips need at its width."""
        self.setFixedHeight(max(1, self.arrange(self.width())))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.oldSize().width() != self.width() and self.minimumHeight() == self.maximumHeight():
            self.fit()
