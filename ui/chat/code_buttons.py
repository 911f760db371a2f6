"""What can be done with a block of code: copy it, save it as a file, wrap its long lines or not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from PySide6.QtCore import QRectF, QSaveFile, QSize, QTimer
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget

from ui.chat.markdown import CodeBlock
from ui.chat.markdown.highlight import canonical
from ui.theme import metrics
from ui.widgets.buttons import IconButton
from ui.widgets.toast import show_toast

__all__ = ["CodeButtons", "file_name", "write_file"]

_COPIED_MS: Final = 1200
#: file name endings by lexer, where the name is not the ending itself
_ENDINGS: Final = {
    "python": "py", "pycon": "txt", "bash": "sh", "console": "txt", "powershell": "ps1", "batch": "bat",
    "javascript": "js", "typescript": "ts", "csharp": "cs", "rust": "rs", "kotlin": "kt", "ruby": "rb", "perl":
    "pl", "julia": "jl", "haskell": "hs", "elixir": "ex", "erlang": "erl", "ocaml": "ml", "fsharp": "fs",
    "clojure": "clj", "scheme": "scm", "docker": "Dockerfile", "make": "Makefile", "markdown": "md", "latex":
    "tex", "matlab": "m", "fortran": "f90", "nasm": "asm", "protobuf": "proto", "nginx": "conf", "http": "txt",
    "objective-c": "m", "common-lisp": "lisp",
}  # fmt: skip


def file_name(language: str) -> str:
    """What a file of such code is called: "code.py", "Makefile", "code.txt"."""
    name = canonical(language)
    ending = _ENDINGS.get(name, name or "txt")
    return ending if ending[:1].isupper() else f"code.{ending}"


def write_file(path: Path, text: str) -> str:
    """Writes text, whole or not at all, with a line end at its end; the system's words where that fails, else ""."""
    file = QSaveFile(str(path))
    data = (text if text.endswith("\n") else f"{text}\n").encode("utf-8", "replace")
    if file.open(QSaveFile.OpenModeFlag.WriteOnly) and file.write(data) == len(data) and file.commit():
        return ""
    return file.errorString()


class _Button(IconButton):
    def _rescale(self) -> None:
        super()._rescale()
        self.setFixedSize(QSize(metrics.px(24), metrics.px(24)))


class CodeButtons:
    """The buttons on one block of code, at the end of its first line."""

    def __init__(self, parent: QWidget) -> None:
        self.copy = _Button("copy", "", parent)
        self.save = _Button("download", "", parent)
        self.wrap = _Button("wrap", "", parent)
        self.wrap.setCheckable(True)
        self._label("copy")
        self.wrap.set_label(self.copy.tr("Wrap long lines"))
        self.save.set_label(self.copy.tr("Save code as a file…"))
        self._code: CodeBlock | None = None
        self._since = 0.0
        self.copy.clicked.connect(self._copy)
        self.save.clicked.connect(self._ask)

    def serve(self, code: CodeBlock) -> None:
        """Stand on this block."""
        self._code = code

    def place(self, area: QRectF, header: int) -> None:
        """Shows them in the first `header` pixels of the block's `area`."""
        side = self.copy.width()
        inset = (header - side) // 2
        self.wrap.setChecked(metrics.wrap_code)
        for number, button in enumerate(reversed(self.all())):
            left = area.right() - side - inset - number * (side + metrics.xs)
            spot = area.topLeft().toPoint()
            spot.setX(int(left))
            spot.setY(int(area.top() + inset))
            if button.pos() != spot:
                button.move(spot)
            if button.isHidden():
                button.show()

    def hide(self) -> None:
        """There is no such block any more."""
        for button in self.all():
            button.hide()

    def all(self) -> tuple[QWidget, ...]:
        """In the order of Tab, the last one at the edge."""
        return self.wrap, self.save, self.copy

    def save_to(self, path: str) -> None:
        """Writes the code into a file, and says so."""
        if self._code is None or not path:
            return
        problem = write_file(Path(path), self._code.code)
        name = Path(path).name
        said = self.save.tr("{0} could not be saved: {1}.").format(name, problem.rstrip(".")) if problem else ""
        show_toast(self.save.window(), said or self.save.tr("Saved as {0}.").format(name))

    def _ask(self) -> None:
        dialog = QFileDialog(self.save.window(), self.save.tr("Save code"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(file_name(self._code.language if self._code is not None else ""))
        dialog.fileSelected.connect(self.save_to)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _copy(self) -> None:
        if self._code is None:
            return
        QApplication.clipboard().setText(self._code.code)
        self._since = time.monotonic()
        self.copy.set_icon("check", "ok")
        self._label("copied")
        QTimer.singleShot(_COPIED_MS, self.copy, self._restore)

    def _restore(self) -> None:
        if time.monotonic() - self._since >= _COPIED_MS / 1000 - 0.05:
            self.copy.set_icon("copy")
            self._label("copy")

    def _label(self, state: str) -> None:
        self.copy.set_label(self.copy.tr("Copied") if state == "copied" else self.copy.tr("Copy code"))
