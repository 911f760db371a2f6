"""A monkey at the window: no exception, no warning of Qt's, no lost message, no thread left.

`NUTSHELL_MONKEY=20000 NUTSHELL_MONKEY_SEED=7 python3 -m installer test tests/ui/monkey` is the long run; without the
variables there is a short one of each seed.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication

from tests.ui.monkey.monkey import Monkey, close_all
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.theme import apply_theme

ACTIONS = int(os.environ.get("NUTSHELL_MONKEY", "0"))
SEEDS = [int(os.environ["NUTSHELL_MONKEY_SEED"])] if "NUTSHELL_MONKEY_SEED" in os.environ else [1, 2]
_SHORT, _ROUND = 300, 150


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_monkey_breaks_nothing(loop: Loop, qapp: QApplication, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set(threading.enumerate())
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()) or True)
    faults: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: faults.append(f"unraisable: {told.exc_value!r}"))
    monkeypatch.setattr(sys, "excepthook", lambda *told: faults.append("".join(traceback.format_exception(*told))))
    loop.asyncio.set_exception_handler(lambda _loop, context: faults.append(f"in the loop: {context}"))
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    link = EngineLink(frame_ms=5)
    window = MainWindow(link, {}, lambda _values: None)
    window.show()
    monkey = Monkey(window, seed)
    monkey.attach()
    left = ACTIONS or _SHORT
    while left > 0 and not monkey.faults and not faults:
        loop.run(monkey.act(min(_ROUND, left)), timeout_s=120)
        left -= _ROUND
    told = "\n".join([*monkey.faults, *faults, "", *monkey.last])
    qapp.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
    close_all()
    window.close()
    loop.run(link.close())
    loop.run(monkey.engine.close())
    window.deleteLater()
    loop.turn()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False, wrap_code=True)
    assert not [*monkey.faults, *faults], told
    stayed = {
        thread for thread in set(threading.enumerate()) - threads if not thread.name.startswith(("formulas", "lexer"))
    }
    assert not stayed
    print(f"{monkey.done} actions: {dict(monkey.counts)}, {len(monkey.sent)} texts sent, {len(monkey.gone)} taken away")
