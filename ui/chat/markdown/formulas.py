"""Formulas as drawings: LaTeX by ziamath in a thread, kept as SVG, drawn by Qt at any scale.

A formula takes 1 to 45 ms of Python, so it never holds up the window: the document keeps its place with the LaTeX
itself and gives it its shape when the drawing is there.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import OrderedDict, deque
from functools import lru_cache
from typing import Final, NamedTuple

from PySide6.QtCore import QByteArray, QObject, Signal
from PySide6.QtSvg import QSvgRenderer

__all__ = ["Formula", "Formulas", "Wanted", "formulas"]

_KEPT: Final = 1000  # drawings; 10 KB each
_SWITCH_S: Final = 0.0005
_USUAL_SWITCH_S: Final = sys.getswitchinterval()
_MAX_DEPTH: Final = 40  # braces in braces
_LONGEST: Final = 2000  # characters; more are no formula, and 60,000 of "$$ $$" kept the thread for minutes
#: Scripts that the formula font has no letters for; such a formula is shown as it was written.
_NO_LETTERS: Final = re.compile("[\u0590-\u1cff\u2e80-\uffff]|[\U00010000-\U0001d3ff\U0001d800-\U0010ffff]")
_VIEW: Final = re.compile(r'viewBox="([-\d.e]+) ([-\d.e]+) ([-\d.e]+) ([-\d.e]+)"')
_POWER_OF_MATRIX: Final = re.compile(r"(\\begin\{(\w*matrix)\}(?:(?!\\begin).)*?\\end\{\2\})(?=\s*[\^_])", re.DOTALL)
_NUMBERED: Final = re.compile(r"\\(begin|end)\{(align|gather|equation|multline|eqnarray)\}")


class Wanted(NamedTuple):
    """What is to be drawn: LaTeX, on a line of its own or in a sentence, the text's pixels and colour (#rrggbb)."""

    latex: str
    display: bool
    pixels: int
    colour: str


class Formula(NamedTuple):
    """A drawing and its measures in pixels; `ascent` and `depth` are above and below the line that text stands on."""

    svg: bytes
    width: float
    ascent: float
    depth: float

    def renderer(self) -> QSvgRenderer:
        """What paints it."""
        return _renderer(self.svg)


@lru_cache(maxsize=200)
def _renderer(svg: bytes) -> QSvgRenderer:
    return QSvgRenderer(QByteArray(svg))


class Formulas(QObject):
    """All drawings that were asked for. One thread makes them, and ends when nothing is wanted.

    Signals:
        ready(Wanted): `get` answers for it now; not always with a drawing.
    """

    ready = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._made: OrderedDict[Wanted, Formula | None] = OrderedDict()
        self._queue: deque[Wanted] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def knows(self, wanted: Wanted) -> bool:
        """Whether it has been tried; if not, it is from now on, and `ready` tells of its end."""
        with self._lock:
            if wanted in self._made:
                self._made.move_to_end(wanted)
                return True
            if wanted not in self._queue:
                self._queue.append(wanted)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="formulas", daemon=True)
                self._thread.start()
        return False

    def get(self, wanted: Wanted) -> Formula | None:
        """The drawing; None while it is made, and where ziamath cannot read the LaTeX."""
        return self._made.get(wanted)

    def draw_now(self, wanted: Wanted) -> Formula | None:
        """The drawing, made in this thread: for a print or a test."""
        if wanted not in self._made:
            self._keep(wanted, _draw(wanted))
        return self._made[wanted]

    def _keep(self, wanted: Wanted, made: Formula | None) -> None:
        with self._lock:
            self._made[wanted] = made
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)

    def _work(self) -> None:
        # The window's thread lets go of the interpreter in many calls into Qt, and would wait the usual 5 ms each time
        # to get it back from this one. Longest stall while formulas streamed, on a busy machine: 68 ms, and 32 so.
        sys.setswitchinterval(_SWITCH_S)
        try:
            self._draw_all()
        finally:
            sys.setswitchinterval(_USUAL_SWITCH_S)

    def _draw_all(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                wanted = self._queue[0]
            made = _draw(wanted)
            self._keep(wanted, made)
            with self._lock:
                self._queue.popleft()
            self.ready.emit(wanted)


def _draw(wanted: Wanted) -> Formula | None:
    # ziamath stumbles over a matrix with an exponent, and numbers lines that nothing refers to.
    latex = _NUMBERED.sub(r"\\\1{\2*}", _POWER_OF_MATRIX.sub(r"{\1}", wanted.latex))
    if len(latex) > _LONGEST or _NO_LETTERS.search(latex) or _depth(latex) > _MAX_DEPTH:
        return None
    try:
        import ziafont  # 0.2 s, in the thread
        import ziamath

        ziafont.config.svg2 = ziamath.config.svg2 = False  # QtSvg draws paths; symbols and uses cost it more
        # The formula font is smaller to the eye than a user interface's.
        size = wanted.pixels * 1.12
        svg = ziamath.Latex(latex, size=size, color=wanted.colour, inline=not wanted.display).svg()
    except Exception:  # noqa: BLE001 - asserts, indexes and recursion: it reads what a model wrote
        return None
    view = _VIEW.search(svg)
    if view is None:
        return None
    _, top, width, height = (float(part) for part in view.groups())
    if not (0 < width < 20_000 and 0 < height < 20_000):
        return None
    return Formula(svg.encode(), width, -top, height + top)


def _depth(latex: str) -> int:
    deepest = depth = 0
    for character in latex:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest


@lru_cache(maxsize=1)
def formulas() -> Formulas:
    """The drawings of this program. To be asked first in the thread of the window."""
    return Formulas()
