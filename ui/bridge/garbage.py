"""Python's cycle collector, kept on the thread that owns the widgets.

The collector runs in whichever thread happens to allocate. When that is not the thread of the user interface, it
destroys Qt objects there: their timers stay registered, and the process ends in QTimerInfoList a moment later (seen
here with a thread that only imported a module). So the automatic collection is switched off, and this object collects
whenever the event loop is about to sleep: no timer, nothing while the program is idle, and never in mid-paint.
"""

from __future__ import annotations

import gc

import shiboken6
from PySide6.QtCore import QAbstractEventDispatcher, QCoreApplication, QObject

__all__ = ["GuiGarbage", "collect_in_gui_thread"]

#: As Python's own thresholds, but 2,000 new objects instead of 700: a token's event makes about 40.
_YOUNG, _MIDDLE, _OLD = 2000, 10, 10


class GuiGarbage(QObject):
    """Collects for as long as it lives; belongs to the application."""

    def __init__(self, app: QCoreApplication) -> None:
        super().__init__(app)
        self._was_enabled = gc.isenabled()
        gc.disable()
        # What was imported stays for ever: not looking at it again takes a full collection from 20 ms to under 1 ms.
        gc.freeze()
        self._dispatcher: QAbstractEventDispatcher | None = QAbstractEventDispatcher.instance(app.thread())
        if self._dispatcher is not None:
            self._dispatcher.aboutToBlock.connect(self.collect_if_due)

    def collect_if_due(self) -> None:
        """Collect the youngest generations that have had enough allocations; 0.2 µs when none has."""
        young, middle, old = gc.get_count()
        if young > _YOUNG:
            gc.collect(2 if old > _OLD else 1 if middle > _MIDDLE else 0)

    def stop(self) -> None:
        """Hand the collection back to Python."""
        if self._dispatcher is not None:
            self._dispatcher.aboutToBlock.disconnect(self.collect_if_due)
            self._dispatcher = None
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()


def collect_in_gui_thread() -> GuiGarbage:
    """Keep the collector on the application's thread from now on; the same object for as long as it lives.

    Raises:
        RuntimeError: there is no application yet.
    """
    app = QCoreApplication.instance()
    if app is None:
        raise RuntimeError("there is no application yet")
    if _Only.collector is None or not shiboken6.isValid(_Only.collector):
        _Only.collector = GuiGarbage(app)
    return _Only.collector


class _Only:
    collector: GuiGarbage | None = None
