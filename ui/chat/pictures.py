"""Pictures from strangers: decoded small, in few formats, and within bounds."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QSize, Qt
from PySide6.QtGui import QImage, QImageReader

__all__ = ["load_picture", "picture_file", "to_png"]

#: pixels; the camera of a telephone makes 50 million
_MOST_PIXELS: Final = 100_000_000
_FORMATS: Final = (b"png", b"jpeg", b"jpg", b"gif", b"webp", b"bmp")


def load_picture(data: bytes, longest: int) -> QImage:
    """A picture whose sides have at most `longest` pixels; null where it cannot be shown."""
    # The bytes are kept by the buffer's own array, which must outlive the reader.
    array = QByteArray(data)
    buffer = QBuffer(array)
    buffer.open(QIODevice.OpenModeFlag.ReadOnly)
    return _read(QImageReader(buffer), longest)


def picture_file(path: str, longest: int) -> QImage:
    """The same for a file."""
    return _read(QImageReader(path), longest)


def to_png(image: QImage) -> bytes:
    """A picture as the bytes of a PNG file."""
    array = QByteArray()
    buffer = QBuffer(array)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    image.save(buffer, "PNG")  # type: ignore[call-overload]
    return bytes(array.data())


def _read(reader: QImageReader, longest: int) -> QImage:
    reader.setDecideFormatFromContent(True)
    reader.setAutoTransform(True)
    if bytes(reader.format().data()) not in _FORMATS:
        return QImage()
    size = reader.size()
    if not size.isValid() or size.width() * size.height() > _MOST_PIXELS:
        return QImage()
    if max(size.width(), size.height()) > longest:
        wanted = size.scaled(QSize(longest, longest), Qt.AspectRatioMode.KeepAspectRatio)
        reader.setScaledSize(wanted.expandedTo(QSize(1, 1)))
    return reader.read()
