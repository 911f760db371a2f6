"""A conversation on paper: a preview of the page that an export writes, and from there the printer."""

from __future__ import annotations

from PySide6.QtCore import QMarginsF
from PySide6.QtGui import QPageLayout, QPageSize
from PySide6.QtPrintSupport import QPrinter, QPrintPreviewDialog
from PySide6.QtWidgets import QWidget

from ui.shell.exchange import document_of

__all__ = ["preview"]

_SIZE = (900, 760)


def preview(parent: QWidget, page: str, title: str) -> QPrintPreviewDialog:
    """Show how the HTML page `page` will look on paper; the dialog prints, and deletes itself when it is closed."""
    printer = QPrinter(QPrinter.PrinterMode.HighResolution)
    printer.setDocName(title)
    printer.setPageSize(QPageSize(QPageSize.PageSizeId.A4))
    # QTextDocument leaves 2 cm at every edge by itself
    printer.setPageMargins(QMarginsF(), QPageLayout.Unit.Millimeter)
    document = document_of(page)
    dialog = QPrintPreviewDialog(printer, parent)
    document.setParent(dialog)
    dialog.kept = printer  # type: ignore[attr-defined]  # it must outlive the dialog's own reference to it
    dialog.setWindowTitle(title)
    dialog.paintRequested.connect(document.print_)
    dialog.finished.connect(dialog.deleteLater)
    dialog.resize(*_SIZE)
    dialog.open()
    return dialog
