"""Pictures of the conversation's pieces, light and dark, for a person to look at: tests/gallery/out/chat-*.png.

What a picture can be held to is asserted: something is drawn, and the palette's window colour lies behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from backend.api.schemas import ContextCut, ErrorInfo, Message, TurnStats
from tests.ui.chat.support import message
from ui.chat.composer import Composer
from ui.chat.conversation_view import ConversationView
from ui.theme import DARK, LIGHT, apply_theme, icon_names
from ui.widgets import ElidedLabel, HoverButton, IconButton, LinkDialog, Meter, NoticeBar, show_toast, text_label

OUT = Path(__file__).parents[2] / "gallery" / "out"

ANSWER = '''To merge **two sorted lists** you walk both with an index, and take the smaller head each time. See
[the docs](https://docs.python.org/3/library/heapq.html) or `heapq.merge`.

## How it works

1. Keep `i` and `j` at the heads.
2. Compare:
   - if `a[i] <= b[j]`, take `a[i]`
   - else take `b[j]`
     1. deeper
     2. still deeper, with a line that is long enough to wrap around to the next one, so that the indentation shows
3. Append the rest.

```python
def merge(a: list[int], b: list[int]) -> list[int]:
    """Merge two sorted lists."""
    out, i, j = [], 0, 0
    while i < len(a) and j < len(b):  # both have heads, and this comment is so long that the line has to wrap somewhere
        if a[i] <= b[j]:
            out.append(a[i]); i += 1
        else:
            out.append(b[j]); j += 1
    return out + a[i:] + b[j:]
```

> It is stable: equal elements keep their order.
> > And nested.

| Case | Time | Memory |
|------|:----:|-------:|
| merge | O(n + m) | O(n + m) |
| sort again, with many words in this cell so that it has to wrap | O(n log n) | **O(n)** |

---

### Raw things

<script>alert(1)</script> and <b>bold</b>. ~~struck~~ *italic* ***both*** ![a picture](https://x.org/p.png)

עברית: זה טקסט מימין לשמאל עם רשימה, ובה `code` ומספרים 1 2 3.

- פריט ראשון
- פריט שני

> ציטוט

Averyveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryveryverylongwordwithoutanyspaces.

```
no language
```
'''
STATS = TurnStats(prompt_tokens=120, completion_tokens=300, ttft_s=0.41, tok_s=24.3, total_s=12.0, seed=7)


def conversation(messages: list[Message], height: int, width: int = 860) -> Callable[[], QWidget]:
    def make() -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        view = ConversationView()
        composer = Composer()
        column.addWidget(view)
        column.addWidget(composer)
        page.resize(width, height)
        page.show()
        view.set_model_names({"m": "SmolLM2 135M Instruct"})
        view.set_branch(messages, {"a": (0, 2), "u2": (1, 3)})
        for message_id in view.message_ids():
            item = view.item(message_id)
            assert item is not None
            item.body.finish_colours()
        if messages and messages[-1].status == "streaming":
            view.append_text("s", 0, "Reading goes on while\n\n```python\nx = [1, 2", 14, 23.6)
            view.flush()
            composer.set_busy(True)
            composer.set_text("The next question\nof two lines")
        if len(messages) == 1:
            item = view.item("u")
            assert item is not None
            item.start_edit()
        view.scroll_to_end()
        return page

    return make


def states() -> list[Message]:
    failed = message("f", "assistant", "", status="failed")
    failed.error = ErrorInfo(
        code="out_of_memory", what="This needs 9.4 GB of memory.", why="6.1 GB is free.",
        remedy="Choose a smaller model, or a shorter context.", details="ggml_alloc failed",
    )  # fmt: skip
    cut = TurnStats(
        completion_tokens=9, tok_s=9.5, ttft_s=71, cut=ContextCut(policy="drop_oldest", dropped=["x"], first_kept="u2")
    )
    return [
        message("u2", "user", "Thanks."),
        message("i", "assistant", "You are wel", status="interrupted"),
        message("u3", "user", "And again?"),
        failed,
        message("u4", "user", "Once more?"),
        message("st", "assistant", "A piece of an ans", status="stopped", stats=STATS),
        message("u5", "user", "Short"),
        message("l", "assistant", "An answer.", stats=cut),
    ]


def widgets() -> QWidget:
    page = QWidget()
    column = QVBoxLayout(page)
    grid = QGridLayout()
    column.addLayout(grid)
    for number, name in enumerate(icon_names()):
        grid.addWidget(IconButton(name, name), number // 14, number % 14)
    row = QHBoxLayout()
    column.addLayout(row)
    focused = QPushButton("Focused")
    primary = QPushButton("Primary")
    primary.setProperty("kind", "primary")
    choice = QComboBox()
    choice.addItems(["One", "Two"])
    ticked = QCheckBox("Ticked")
    ticked.setChecked(True)
    for widget in (focused, primary, HoverButton("Quiet", icon="retry"), choice, QLineEdit("text"), QSpinBox(), ticked):
        row.addWidget(widget)
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setValue(40)
    column.addWidget(slider)
    for label, fraction, words, level in (
        ("Context", 0.15, "1,240 of 8,192", ""),
        ("Memory", 0.95, "15.2 of 16 GB, nearly full", "warn"),
    ):
        meter = Meter(label)
        meter.set_value(fraction, words, level)  # type: ignore[arg-type]
        column.addWidget(meter)
    notice = NoticeBar(closable=True)
    notice.set_notice("The engine stopped. Your text is saved.", level="error", action="Continue", details="abort")
    column.addWidget(notice)
    for tone in ("muted", "secondary", "title", "heading", "ok", "warn", "danger"):
        column.addWidget(text_label(f"Tone {tone}", tone))  # type: ignore[arg-type]
    column.addWidget(ElidedLabel("a line that is too long " * 12))
    column.addSpacing(80)
    page.resize(760, 720)
    page.show()
    focused.setFocus(Qt.FocusReason.TabFocusReason)
    show_toast(page, "The conversation is in the trash.", action="Undo")
    return page


def dialog() -> QWidget:
    made = LinkDialog(None, "https://exämple.org/a?b=\u202ec")
    made.show()
    return made


PICTURES: dict[str, Callable[[], QWidget]] = {
    "answer": conversation(
        [
            message("u", "user", "How do I merge two lists?\n    keep the indent\n```py\nx = [1, 2]\n```"),
            message("a", "assistant", ANSWER, stats=STATS),
        ],
        1750,
    ),
    "answer-narrow": conversation(
        [message("x", "user", "q"), message("a", "assistant", ANSWER, stats=STATS)], 2100, 380
    ),
    "states": conversation(states(), 1250),
    "streaming": conversation([message("q", "user", "Go on."), message("s", "assistant", "", status="streaming")], 520),
    "editing": conversation([message("u", "user", "A question\nof two lines")], 420),
    "empty": conversation([], 640),
    "widgets": widgets,
    "link": dialog,
}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", PICTURES)
def test_picture(name: str, mode: str, qapp: QApplication, qtbot: QtBot) -> None:
    palette = DARK if mode == "dark" else LIGHT
    apply_theme(qapp, "dark" if mode == "dark" else "light")
    page = PICTURES[name]()
    qtbot.addWidget(page)
    qapp.processEvents()
    image = page.grab().toImage()
    OUT.mkdir(parents=True, exist_ok=True)
    assert image.save(str(OUT / f"chat-{name}-{mode}.png"))
    assert image.pixelColor(2, 2) == QColor(palette.window)
    colours = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
    assert len(colours) > 20
