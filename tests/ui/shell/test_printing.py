"""A conversation on paper."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtPrintSupport import QPrinter, QPrintPreviewWidget
from PySide6.QtWidgets import QWidget

from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.shell.printing import preview


def test_a_preview_has_pages_and_prints_them(loop: Loop, tmp_path: Path) -> None:
    window = QWidget()
    dialog = preview(window, "<h1>Title</h1>" + "<p>A paragraph of words. <img src='file:///etc/x.png'></p>" * 400, "T")
    pages = dialog.findChild(QPrintPreviewWidget)
    pages.updatePreview()
    assert pages.pageCount() > 3
    printer = QPrinter()
    printer.setOutputFileName(str(tmp_path / "out.pdf"))
    dialog.paintRequested.emit(printer)
    assert (tmp_path / "out.pdf").stat().st_size > 5000
    dialog.close()
    window.deleteLater()
    loop.turn()


def test_the_command_asks_the_engine_for_the_page(loop: Loop, link: EngineLink, fake: FakeClient) -> None:
    window = MainWindow(link)
    window.show()
    link.attach(fake)
    loop.until(lambda: len(window.chat.list) == len(fake.details))
    assert not window.commands["chat.print"].isEnabled()
    key = next(iter(fake.details))
    window.open_conversation(key)
    loop.until(lambda: window.chat.open_id == key)
    window.commands["chat.print"].trigger()
    loop.until(lambda: window.findChild(QPrintPreviewWidget))
    assert fake.called("export_conversation") == [(key, "html")]
    window.findChild(QPrintPreviewWidget).window().close()
    window.close()
    window.deleteLater()
    loop.turn()
