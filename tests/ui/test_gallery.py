"""Renders every screen and state, light and dark, to tests/gallery/out/*.png, to be looked at.

The assertions hold what a picture can be held to: its size, that something is drawn on it, and the palette behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from PySide6.QtCore import QItemSelectionModel, QSize, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication

from backend.api.errors import ConflictError, EngineUnavailableError
from backend.api.schemas import (
    ConversationDetail,
    DiskReport,
    ErrorInfo,
    Folder,
    GpuReport,
    GpuUser,
    Message,
    SearchHit,
    TurnStats,
)
from backend.api.speculation_schemas import DraftSuggestion, PassReport
from tests.fakes.client import GB, FakeClient, fake_conversation, fake_loaded, fake_sliding
from tests.ui.shell.ladders import three_builds
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.hardware.hardware_page import HardwarePage
from ui.main_window import MainWindow
from ui.theme import DARK, LIGHT, Mode, apply_theme, current

OUT = Path(__file__).parent.parent / "gallery" / "out"
WIDE, MEDIUM, NARROW = QSize(1180, 780), QSize(860, 720), QSize(460, 720)
DAY = 86_400.0

ANSWER = """Two sorted lists are merged by walking through **both at once** and always taking the smaller head.

## The idea

1. Keep one index per list.
2. Compare the two items; append the smaller one.
3. When one list ends, append *the rest of the other*.

```python
def merge(left: list[int], right: list[int]) -> list[int]:
    merged, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:          # equal items keep their order
            merged.append(left[i]); i += 1
        else:
            merged.append(right[j]); j += 1
    return merged + left[i:] + right[j:]
```

| list lengths | comparisons | memory |
|---|---:|---:|
| 10 + 10 | at most 19 | 20 items |
| 1,000 + 10 | at most 1,009 | 1,010 items |

> The standard library has it too: `heapq.merge` does the same lazily, for any number of lists.

For linked lists the same walk needs no extra memory: only the links change.
"""
THOUGHT = "<think>\nThe pairs 1 and n, 2 and n-1 each give $n+1$.\n\nThere are **n/2** such pairs.\n</think>\n\n"
FORMULAS = r"""Write the sum twice, once backwards; each of the $n$ columns then adds up to $n+1$:

$$
2 \sum_{k=1}^{n} k = \underbrace{(n+1) + (n+1) + \dots + (n+1)}_{n\ \text{times}}
$$

So $\sum_{k=1}^{n} k = \frac{n(n+1)}{2}$, and for squares

\begin{align}
\sum_{k=1}^{n} k^2 &= \frac{n(n+1)(2n+1)}{6} \\
\int_0^n x^2\,dx &= \frac{n^3}{3}
\end{align}

- the difference is of order $n^2$, at a price of $5 or $10;
- in matrices: $A = \begin{pmatrix} 1 & 1 \\ 0 & 1 \end{pmatrix}^n$.
"""
ARABIC_QUESTION = "كيف تعمل الثلاجة؟"
ARABIC_ANSWER = "الثلاجة **تنقل** الحرارة من الداخل إلى الخارج."
LONG_TITLE = (
    "A very long title about refrigerators, heat pumps and everything else that moves warmth from here to there"
)


def conversations() -> list[ConversationDetail]:
    return [
        fake_conversation("Merge two sorted lists", [("How do I merge two sorted lists in Python?", ANSWER)]),
        fake_conversation("Thank-you note for a neighbour", [("Write a note", "Dear neighbour,")], age_s=3600),
        fake_conversation("Dinner from what is left", [("What can I cook?", "Lentils.")], age_s=DAY),
        fake_conversation(LONG_TITLE, [("How does a refrigerator work?", "It moves heat.")], age_s=DAY * 1.1),
        fake_conversation("Names for a boat", [("Names?", "Swallow.")], age_s=4 * DAY),
        fake_conversation("Trip to the coast", [("Plan", "Pack.")], age_s=40 * DAY),
    ]


class Stage:
    """One window with a fake engine, and the steps that lead to a picture."""

    def __init__(self, loop: Loop, window: MainWindow, fake: FakeClient) -> None:
        self.loop, self.window, self.fake = loop, window, fake

    def attach(self) -> Stage:
        self.window.link.attach(self.fake)
        self.loop.until(
            lambda: (
                self.fake.following.is_set()
                and len(self.window.chat.list) == len(self.fake.details)
                and self.window.models.list.rowCount() > len(self.fake.entries)
            )
        )
        return self

    def open(self, number: int = 0) -> Stage:
        key = list(self.fake.details)[number]
        self.window.open_conversation(key)
        self.loop.until(lambda: self.window.chat.open_id == key and self.window.chat_screen.view.message_ids())
        return self

    def ask(self, text: str) -> str:
        self.window.chat.send(text)
        self.loop.until(lambda: self.window.chat.streaming_id)
        return self.window.chat.streaming_id or ""

    def settle(self) -> None:
        self.window.chat_screen.view.flush()
        self.loop.turn(12)
        QApplication.processEvents()


Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[QSize, Scene]] = {}


def scene(size: QSize = WIDE) -> Callable[[Scene], Scene]:
    def keep(function: Scene) -> Scene:
        SCENES[function.__name__] = (size, function)
        return function

    return keep


@scene()
def empty(stage: Stage) -> None:
    stage.fake.details.clear()
    stage.attach()


@scene()
def starting_with_a_message_that_waits(stage: Stage) -> None:
    stage.window.chat.send("Why is the sky blue?")


@scene()
def chat(stage: Stage) -> None:
    stage.attach().open()


@scene()
def streaming(stage: Stage) -> None:
    answer = stage.attach().open().ask("And how do I merge three of them, without changing the first?")
    stage.fake.say(
        answer, "Merge the first two, then the result with the third:\n\n```python\nfrom heapq import merge\n"
    )
    stage.fake.say(answer, "both = list(merge(a, b, c))\n```\n\nNone of the three lists is")
    stage.loop.until(lambda: stage.window.chat.branch()[-1].content.endswith("is"))


@scene()
def code_that_is_not_wrapped(stage: Stage) -> None:
    wide = "merged = heapq.merge(" + ", ".join(f"list_number_{n}" for n in range(1, 12)) + ", key=lambda one: one.size)"
    code = f"A call of many lists:\n\n```python\nimport heapq\n\n{wide}\nprint(*merged)\n```\n\nIt copies none of them."
    one = fake_conversation("A long line", [("Merge eleven lists in one call", code)])
    stage.fake.details = {one.conversation.id: one}
    stage.attach().open()
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    apply_theme(app, current().name, wrap_code=False)  # type: ignore[arg-type]  # the names of the usual palettes
    item = stage.window.chat_screen.view.item(one.messages[-1].id)
    assert item is not None
    (bar,) = item.body.code_scroll_bars()
    bar.setValue(bar.maximum() // 3)


@scene()
def formulas_and_a_thought(stage: Stage) -> None:
    stage.fake.details = {
        one.conversation.id: one
        for one in [fake_conversation("Sum of the first numbers", [("Why is it n(n+1)/2?", THOUGHT + FORMULAS)])]
    }
    detail = next(iter(stage.fake.details.values()))
    detail.messages[-1].stats = structs.replace(detail.messages[-1].stats, thinking_s=7.4)  # type: ignore[type-var]
    stage.attach().open()
    item = stage.window.chat_screen.view.item(detail.messages[-1].id)
    assert item is not None
    fold = item.thinking()
    assert fold is not None
    fold.button.click()
    stage.loop.until(lambda: not item.body.markdown._writer.pending_formulas, 20)


@scene()
def messages_that_wait(stage: Stage) -> None:
    answer = stage.attach().open().ask("And three of them?")
    stage.fake.say(answer, "Merge the first two, then")
    for text in ("Then show me a test for it, with lists of different lengths and with empty ones", "Thank you"):
        stage.window.chat_screen.composer.queue_requested.emit(text)
    stage.window.chat_screen.composer.set_text("One more thing")


@scene()
def a_found_message(stage: Stage) -> None:
    stage.attach()
    detail = next(iter(stage.fake.details.values()))
    snippet = "When one list ends, append the rest of the \u2068other\u2069. def merge"
    stage.fake.hits = [
        SearchHit(
            conversation_id=detail.conversation.id, message_id=detail.messages[1].id, title="", snippet=snippet
        )
    ]  # fmt: skip
    stage.window.sidebar.search.setText("other")
    stage.loop.until(lambda: stage.fake.called("search") and stage.window.chat.list.shown == 1)
    stage.window.sidebar.list.clicked.emit(stage.window.chat.list.index_of(detail.conversation.id))
    stage.loop.until(lambda: stage.window.chat_screen.view.message_ids())


@scene()
def folders_and_pins(stage: Stage) -> None:
    keys = list(stage.fake.details)
    stage.fake.folder_list = [Folder(id="f1", name="Cooking"), Folder(id="f2", name="Work")]
    for place, key in enumerate(keys):
        conversation = stage.fake.details[key].conversation
        conversation.pinned = place == 3
        conversation.folder_id = {2: "f1", 4: "f2"}.get(place)
        conversation.archived = place == 5
    stage.attach().open()
    stage.window.chat.list.toggle_folder("f2")
    stage.loop.until(lambda: stage.window.chat.list.folders())
    stage.window.sidebar.list.selectionModel().select(
        stage.window.chat.list.index_of(keys[1]), QItemSelectionModel.SelectionFlag.Select
    )


@scene()
def trash(stage: Stage) -> None:
    for place, key in enumerate(stage.fake.details):
        if place > 2:
            stage.fake.details[key].conversation.deleted_at = time.time() - place * DAY / 3
    stage.window.link.attach(stage.fake)
    stage.loop.until(lambda: len(stage.window.chat.list) == 3)
    stage.window.sidebar.go_to("trash")
    stage.loop.until(lambda: stage.window.chat.list.shown == 3)


@scene()
def editing_an_answer(stage: Stage) -> None:
    stage.attach().open(2)
    item = stage.window.chat_screen.view.item(stage.window.chat.branch()[-1].id)
    assert item is not None
    item.start_edit()


@scene()
def reading_the_prompt(stage: Stage) -> None:
    answer = stage.attach().open(2).ask("Here is a long text about lentils. " * 30)
    stage.fake.read(answer, 769, 1240)
    stage.loop.until(lambda: stage.window.inspector.context.words().startswith("1,240"))


@scene()
def failed_answer(stage: Stage) -> None:
    answer = stage.attach().open(2).ask("And for forty people?")
    stage.fake.say(answer, "For forty people")
    error = ErrorInfo(
        code="out_of_memory", what="This needs 9.4 GB of memory; 6.1 GB is free.",
        remedy="Choose a smaller model, or close other programs.", details="ggml: failed to allocate",
    )  # fmt: skip
    stage.fake.finish(answer, "failed", error)
    stage.loop.until(lambda: not stage.window.chat.busy)


@scene()
def request_failed(stage: Stage) -> None:
    stage.attach().open(2)
    stage.window.link.request_failed.emit(
        ErrorInfo(
            code="disk_full", what="The disk is full, so the message could not be saved.",
            remedy="Free some space and send it again.", details="sqlite3.OperationalError: database or disk is full",
        )
    )  # fmt: skip
    stage.window.notice_bar.details_button().click()


@scene()
def engine_died_while_answering(stage: Stage) -> None:
    answer = stage.attach().open(2).ask("And then?")
    stage.fake.say(answer, "Then come the pears. Peel them, halve them, and")
    stage.loop.until(lambda: stage.window.chat.branch()[-1].content)
    stage.fake.die()
    stage.window.link.detach("The engine stopped while answering. Your text is saved. It is starting again…")


@scene()
def engine_is_back(stage: Stage) -> None:
    engine_died_while_answering(stage)
    stage.fake = FakeClient(stage.fake.details.values(), loaded=fake_loaded())
    for detail in stage.fake.details.values():
        for message in detail.messages:
            message.status = "interrupted" if message.status == "streaming" else message.status
    stage.attach()
    stage.loop.until(lambda: stage.window.notice_bar.text() == "Ready.")


@scene()
def engine_does_not_start(stage: Stage) -> None:
    stage.window.link.fail(
        EngineUnavailableError(
            "The engine does not start.",
            why="Its program file is missing or damaged.",
            remedy="Your conversations are safe. Try again, or install Nutshell again.",
            details="FileNotFoundError: [Errno 2] libllama.so",
        )
    )
    stage.window.failed_page.fold.setChecked(True)


@scene()
def no_model(stage: Stage) -> None:
    stage.fake.loaded = None
    stage.attach()


@scene()
def model_menu(stage: Stage) -> None:
    stage.attach().open()
    stage.window.toggle_model_menu()
    stage.loop.turn(20)


@scene()
def model_loading(stage: Stage) -> None:
    stage.attach().open()
    stage.window.models.load(stage.fake.entries[2])
    stage.loop.until(lambda: stage.fake.loading)
    stage.fake.loading_moved(0.62)
    stage.loop.until(lambda: stage.window.models.progress)


@scene()
def hardware(stage: Stage) -> None:
    stage.attach().window.toggle_hardware()


@scene(QSize(1180, 1100))
def hardware_with_graphics(stage: Stage) -> None:
    stage.fake.gpus = [
        GpuReport(
            name="NVIDIA GeForce RTX 4070", backend="CUDA", vram_total=12 * GB, vram_free=int(10.9 * GB),
            link="PCIe 4.0 x8", link_rate=15.75e9,
            users=[GpuUser(name="firefox", bytes=int(0.6 * GB)), GpuUser(name="gnome-shell", bytes=int(0.3 * GB))],
        ),
        GpuReport(name="NVIDIA GeForce GTX 1050", backend="", vram_total=2 * GB, vram_free=2 * GB),
    ]  # fmt: skip
    stage.fake.disks = [DiskReport(path="/mnt/models", total=2000 * GB, free=1210 * GB)]
    stage.fake.core_kinds = {"performance_cores": 6, "efficiency_cores": 8}
    stage.fake.loaded = structs.replace(fake_loaded(), n_gpu_layers=12, link_bytes=58_900_000)
    stage.attach().window.toggle_hardware()


@scene(QSize(1180, 900))
def hardware_measured_while_a_model_writes(stage: Stage) -> None:
    stage.attach().window.toggle_hardware()
    stage.loop.until(lambda: stage.fake.called("hardware"))
    why = "Both would share the memory, and the figures would be too low."
    stage.fake.failures["measure_hardware"] = ConflictError(
        "Nothing can be measured while a model writes.", why=why,
        remedy="Wait for the answer, or stop it, and measure again.",
    )  # fmt: skip
    page = stage.window.findChild(HardwarePage)
    page.measure_button.click()
    stage.loop.until(lambda: "while a model writes" in page.state.text())


@scene()
def search_hits(stage: Stage) -> None:
    stage.attach().open()
    found = list(stage.fake.details)[2]
    stage.fake.hits = [
        SearchHit(conversation_id=found, message_id="m", title="", snippet="a list of what is \u2068left\u2069 over")
    ]
    stage.window.sidebar.search.setText("left")
    stage.window.sidebar.focus_search()
    stage.loop.until(lambda: stage.fake.called("search"))


@scene()
def search_finds_nothing(stage: Stage) -> None:
    stage.attach()
    stage.window.sidebar.search.setText("zebra crossing")
    stage.loop.until(lambda: stage.window.chat.list.rowCount() == 0)


@scene(QSize(1180, 1360))
def inspector_unfolded(stage: Stage) -> None:
    stage.attach().open()
    stage.window.inspector.sampling.fold.button.click()
    stage.window.inspector.sampling.slider.setValue(22)


@scene()
def slider(stage: Stage) -> None:
    stage.fake.loaded = fake_sliding(0.62)
    stage.attach().open()
    stage.loop.until(lambda: stage.window.inspector.position.takes.text())


def fast_stage(stage: Stage) -> None:
    """Guesses by hand, with what there is to guess with, and passes of the last answer."""
    loaded = fake_loaded()
    stage.fake.loaded = structs.replace(
        loaded, speculation="custom", draft_nodes=7, entry=structs.replace(loaded.entry, bytes=986_000_000)
    )
    stage.fake.draft_suggestions = [
        DraftSuggestion(path="a.gguf", name="Qwen2.5 Coder 0.5B", bytes=491_000_000),
        DraftSuggestion(
            path="b.gguf", name="SmolLM2 135M", bytes=98_000_000,
            reason="Its vocabulary has 49,152 tokens, and that of the model has 151,936.",
        ),
    ]  # fmt: skip
    costs = [(1, 0.040), (2, 0.049), (3, 0.06), (4, 0.061), (5, 0.076), (6, 0.078), (8, 0.094)]
    tokens = [1, 1, 3, 8, 8, 8, 2, 1, 6, 8, 8, 3, 1, 1, 2, 7, 8, 8, 8, 8, 5, 1, 3, 2, 1, 8, 8, 4] * 2
    passes = [(1 if one == 1 else 8, one, 0.09) for one in tokens]
    stage.fake.pass_report = PassReport(curve=costs, passes=passes, plain_s=0.04, draft_s=0.01)


@scene(QSize(1180, 1420))
def speed_up(stage: Stage) -> None:
    fast_stage(stage)
    answer = stage.attach().open().ask("Now rename it.")
    panel = stage.window.inspector.speedup
    panel.fold.button.click()
    stage.loop.until(lambda: panel.draft.count() == 3 and panel.passes and panel.passes.isVisible())
    stage.fake.say(answer, "def merged(left, right):", passes=9, drafted=40, accepted=14, speedup=1.62)
    stage.loop.until(lambda: panel.live.text())


@scene()
def what_was_guessed(stage: Stage) -> None:
    stage.attach().open()
    screen = stage.window.chat_screen
    shown = screen.view.item(screen.view.message_ids()[-1])
    assert shown is not None
    text = shown.message.content
    runs = [30, 24, 12, 40, 8, 60, 20, 9, 14, 120, 6, 70, 33, 50]
    stats = TurnStats(
        completion_tokens=210, tok_s=31.0, passes=90, drafted=240, accepted=120, speedup=1.58,
        guessed=[*runs, len(text) - sum(runs)],
    )  # fmt: skip
    shown.set_message(structs.replace(shown.message, stats=stats))
    shown.set_shaded(True)


@scene()
def deleted_with_undo(stage: Stage) -> None:
    stage.attach().open(1)
    stage.window.chat.delete(stage.window.chat.open_id)
    stage.loop.until(lambda: not stage.window.chat.open_id)


@scene()
def answering_elsewhere(stage: Stage) -> None:
    stage.attach().open(1).ask("Make it warmer")
    stage.open(0)


@scene()
def long_title_and_versions(stage: Stage) -> None:
    stage.attach().open(3)
    state = stage.window.chat.state
    assert state is not None
    last = state.branch()[-1]
    detail = stage.fake.details[state.id]
    detail.messages.append(
        Message(
            id="f" * 32, conversation_id=state.id, parent_id=last.parent_id, role="assistant",
            content="Cold is not made; heat is moved.",
        )
    )  # fmt: skip
    detail.conversation.head_id = "f" * 32
    stage.window.commands["chat.new"].trigger()
    stage.open(3)


@scene()
def right_to_left(stage: Stage) -> None:
    stage.fake.details = {
        one.conversation.id: one
        for one in [
            fake_conversation("كيف تعمل الثلاجة؟", [(ARABIC_QUESTION, ARABIC_ANSWER)]),
            fake_conversation("وصفة العدس", [("وصفة", "عدس")], age_s=DAY),
        ]
    }  # fmt: skip
    stage.attach().open()


@scene()
def right_to_left_with_all(stage: Stage) -> None:
    thought = "<think>\nالبرودة لا تُصنع، بل تُنقل الحرارة: $Q = mc\\Delta T$.\n</think>\n\n"
    text = f"{ARABIC_ANSWER}\n\n$$\nQ = m c \\Delta T\n$$\n\n- أولا\n- ثانيا\n\n```python\nprint(1)\n```\n"
    details = [
        fake_conversation("كيف تعمل الثلاجة؟", [(ARABIC_QUESTION, thought + text)]),
        fake_conversation("وصفة العدس", [("وصفة", "عدس")], age_s=DAY),
        fake_conversation("رحلة", [("رحلة", "البحر")], age_s=DAY),
    ]
    stage.fake.details = {one.conversation.id: one for one in details}
    stage.fake.folder_list = [Folder(id="f1", name="الطبخ")]
    details[1].conversation.folder_id = "f1"
    details[2].conversation.pinned = True
    stage.attach().open()
    item = stage.window.chat_screen.view.item(details[0].messages[-1].id)
    assert item is not None
    fold = item.thinking()
    assert fold is not None
    fold.button.click()
    stage.loop.until(lambda: not item.body.markdown._writer.pending_formulas, 20)
    stage.window.chat_screen.queue.set_texts(["وماذا بعد؟"])


@scene(NARROW)
def narrow_with_a_queue(stage: Stage) -> None:
    formulas_and_a_thought(stage)
    stage.window.chat_screen.queue.set_texts(["And for cubes? " * 6, "Thank you"])


@scene(MEDIUM)
def medium(stage: Stage) -> None:
    stage.attach().open()


@scene(MEDIUM)
def medium_with_drawer(stage: Stage) -> None:
    stage.attach().open()
    stage.window.toggle_bar("right")


@scene(NARROW)
def narrow(stage: Stage) -> None:
    stage.attach().open(3)


@scene(NARROW)
def narrow_with_conversations(stage: Stage) -> None:
    stage.attach().open()
    stage.window.toggle_bar("left")


@scene(QSize(1500, 940))
def zoomed(stage: Stage) -> None:
    stage.attach().open()


@scene()
def high_contrast(stage: Stage) -> None:
    stage.attach().open()


@scene()
def the_only_build(stage: Stage) -> None:
    _small, middle, _large = three_builds(stage.fake)
    stage.fake.stops = stage.fake.stops[1:2]
    stage.fake.loaded = fake_loaded(middle)
    stage.attach().open()
    stage.loop.until(lambda: stage.window.inspector.position.track.stops)


def beside_its_builds(stage: Stage, handle: int) -> None:
    _small, middle, _large = three_builds(stage.fake)
    stage.fake.loaded = fake_loaded(middle)
    stage.attach().open()
    stage.loop.until(lambda: stage.window.inspector.position.track.chooses)
    stage.window.inspector.position.handle.setValue(handle)


@scene()
def builds_of_one_model(stage: Stage) -> None:
    beside_its_builds(stage, 30)


@scene()
def a_build_that_does_not_fit(stage: Stage) -> None:
    beside_its_builds(stage, 1000)


@scene()
def builds_right_to_left(stage: Stage) -> None:
    a_build_that_does_not_fit(stage)


@scene()
def high_contrast_slider(stage: Stage) -> None:
    slider(stage)


def drawn(image: QImage) -> tuple[int, float]:
    """How many colours a grid of points finds, and the share of the commonest."""
    found: dict[int, int] = {}
    points = 0
    for y in range(0, image.height(), 3):
        for x in range(0, image.width(), 3):
            points += 1
            colour = image.pixel(x, y)
            found[colour] = found.get(colour, 0) + 1
    return len(found), max(found.values()) / points


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    draw_scene(name, mode, size, play, loop, qapp)


def draw_scene(name: str, mode: Mode, size: QSize, play: Scene, loop: Loop, qapp: QApplication) -> None:
    """Plays a scene, and keeps and checks its picture."""
    zoom = 2.0 if name.endswith("_at_200") else 1.5 if name == "zoomed" else 1.0
    apply_theme(qapp, mode, zoom=zoom, reduced_motion=True, high_contrast="high_contrast" in name)
    if "right_to_left" in name:
        qapp.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    link = EngineLink(frame_ms=5)
    window = MainWindow(link)
    try:
        window.resize(size)
        window.show()
        stage = Stage(loop, window, FakeClient(conversations(), loaded=fake_loaded()))
        play(stage)
        stage.settle()
        image = window.grab().toImage()
        OUT.mkdir(parents=True, exist_ok=True)
        assert image.save(str(OUT / f"{name}-{mode}.png"))
    finally:
        window.close()
        loop.run(link.close())
        window.deleteLater()
        loop.turn()
        qapp.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        apply_theme(qapp, "light", zoom=1.0, reduced_motion=False, high_contrast=False, wrap_code=True)
    assert image.size() == size * image.devicePixelRatio()
    colours, commonest = drawn(image)
    assert colours > 20, "hardly anything is drawn"
    assert commonest < 0.985, "the picture is nearly empty"
    palette = DARK if mode == "dark" else LIGHT
    near = QColor(palette.window).lightness()
    corner = image.pixelColor(image.width() // 2, 2)  # under the veil of a drawer in some
    assert abs(corner.lightness() - near) < 90, "the window is not in the palette's colours"
