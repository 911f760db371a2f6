from __future__ import annotations

import gc
import threading
import weakref

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from tests.ui.shell.support import Loop
from ui.bridge.garbage import collect_in_gui_thread


class Knot:
    """Something that only the cycle collector can free."""

    def __init__(self) -> None:
        self.me = self
        self.qt = QObject()


def make_garbage(count: int) -> None:
    for _ in range(count):
        Knot()


def test_garbage_of_the_gui_is_never_freed_in_another_thread(qapp: QApplication, loop: Loop) -> None:
    freed_in: list[int] = []
    knot = Knot()
    weakref.finalize(knot, lambda: freed_in.append(threading.get_ident()))
    del knot
    worker = threading.Thread(target=make_garbage, args=(20_000,))
    worker.start()
    worker.join()
    assert threading.get_ident() not in freed_in
    assert freed_in == []
    make_garbage(3_000)
    loop.until(lambda: freed_in)  # the event loop sleeps between two looks, and collects before it does
    assert freed_in == [threading.get_ident()]


def test_there_is_one_collector(qapp: QApplication) -> None:
    assert collect_in_gui_thread() is collect_in_gui_thread()
    assert not gc.isenabled()
