"""A model file or folder that is dropped anywhere on the window is opened."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QEvent, QMimeData, QObject, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget

__all__ = ["ModelDrop", "model_files"]

_ENDINGS = (".gguf", ".nutshell", ".safetensors")


def model_files(data: QMimeData) -> list[str]:
    """The local model files in what is dragged, and folders that are a model of several files."""
    paths = [url.toLocalFile() for url in data.urls() if url.isLocalFile()]
    return [path for path in paths if path.lower().endswith(_ENDINGS) or (Path(path) / "config.json").is_file()]


class ModelDrop(QObject):
    """Takes model files from drags over the given widgets, before they see them; everything else goes on to them.

    Signals:
        dropped(str): path of the first model file.
    """

    dropped = Signal(str)

    def __init__(self, *targets: QWidget) -> None:
        super().__init__(targets[0])
        for target in targets:
            target.setAcceptDrops(True)
            target.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QDropEvent | QDragEnterEvent) and event.type() in (
            QEvent.Type.DragEnter,
            QEvent.Type.DragMove,
            QEvent.Type.Drop,
        ):
            files = model_files(event.mimeData())
            if files:
                event.acceptProposedAction()
                if event.type() == QEvent.Type.Drop:
                    self.dropped.emit(files[0])
                return True
        return False
