"""Pictures of what goes into a message: files over the composer, files in messages, prompts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QPointF, QSize
from PySide6.QtGui import QColor, QImage, QLinearGradient, QPainter
from PySide6.QtWidgets import QApplication, QDialog

from backend.api.schemas import Attachment, Prompt
from tests.fakes.client import FakeClient, fake_loaded
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import NARROW, OUT, WIDE, Stage, conversations, draw_scene, drawn
from ui.bridge.engine_link import EngineLink
from ui.chat.pictures import to_png
from ui.main_window import MainWindow
from ui.prompts.fill_dialog import FillDialog
from ui.theme import Mode, apply_theme

LONG_NAME = "minutes of the meeting about the refrigerators on the third floor, second version, final.docx"
SCENES: dict[str, tuple[QSize, Callable[[Stage], None]]] = {}


def scene(size: QSize = WIDE) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    def keep(function: Callable[[Stage], None]) -> Callable[[Stage], None]:
        SCENES[function.__name__] = (size, function)
        return function

    return keep


def landscape() -> bytes:
    image = QImage(640, 400, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    sky = QLinearGradient(QPointF(0, 0), QPointF(0, 400))
    sky.setColorAt(0, QColor("#7fb2d9"))
    sky.setColorAt(0.7, QColor("#f3d9a8"))
    sky.setColorAt(0.71, QColor("#3f6b45"))
    sky.setColorAt(1, QColor("#1f3a2a"))
    painter.fillRect(image.rect(), sky)
    painter.end()
    return to_png(image)


def hold(stage: Stage, *names: str) -> None:
    stage.fake.sizes |= {"report.pdf": 13_400, "table.csv": 860, LONG_NAME: 7_300, "war and peace.txt": 3_200_000}
    attaching = stage.window.chat_screen.files.attaching
    attaching.add_paths([f"/home/ada/{name}" for name in names])
    stage.loop.until(lambda: not attaching.reading)


@scene()
def next_questions(stage: Stage) -> None:
    stage.attach()
    stage.window.chat_screen.next_questions.bar.set_questions(
        [
            "How do I merge more than two lists?",
            "What does it cost for lists of a million numbers & more?",
            "Why " * 40 + "?",
        ]
    )


@scene()
def files_over_the_composer(stage: Stage) -> None:
    stage.attach().open()
    hold(stage, "report.pdf", "table.csv", LONG_NAME)
    stage.window.chat_screen.files.attaching.add_text("one line of a log\n" * 300)
    stage.loop.until(lambda: not stage.window.chat_screen.files.attaching.reading)
    stage.window.chat_screen.composer.set_text("What do these say about the third floor?")


@scene()
def files_that_do_not_fit(stage: Stage) -> None:
    stage.attach().open()
    hold(stage, "war and peace.txt")
    stage.window.chat_screen.composer.set_text("Summarise this")


@scene()
def a_picture_over_the_composer(stage: Stage) -> None:
    stage.attach().open()
    stage.window.chat_screen.files.attaching.add_image(landscape())
    stage.loop.until(lambda: not stage.window.chat_screen.files.attaching.reading)


@scene()
def files_in_a_message(stage: Stage) -> None:
    detail = next(iter(stage.fake.details.values()))
    asked = detail.messages[0]
    asked.attachments = [
        Attachment(id="pic", message_id=asked.id, name="view from the window.png", mime="image/png", size=182_000),
        Attachment(id="doc", message_id=asked.id, name="report.pdf", mime="application/pdf", size=13_400),
        Attachment(id="long", message_id=asked.id, name=LONG_NAME, mime="text/plain", size=7_300),
    ]
    stage.fake.contents["pic"] = landscape()
    stage.attach().open()
    stage.loop.until(lambda: "pic" in stage.window.chat_screen.view._pictures)
    stage.window.chat_screen.view.scroll_to_message(asked.id)


@scene()
def files_right_to_left(stage: Stage) -> None:
    files_in_a_message(stage)
    hold(stage, "report.pdf", LONG_NAME)


@scene(NARROW)
def files_narrow(stage: Stage) -> None:
    files_in_a_message(stage)
    hold(stage, "report.pdf", "table.csv", LONG_NAME)
    stage.window.chat_screen.files.attaching.add_text("x" * 5000)
    stage.loop.until(lambda: not stage.window.chat_screen.files.attaching.reading)


PROMPTS = [
    ("Translate", "Translate into {{language}}, in a {{tone}} tone:\n\n{{text}}"),
    ("Review code", "Review this code. Say first what could break."),
    ("Summarise for a person in a hurry who has only one minute and wants the three points that matter", "Sum up."),
    ("ترجمة", "ترجم إلى {{لغة}}:"),
]


def keep_prompts(stage: Stage) -> None:
    stage.fake.prompt_list = [
        Prompt(id=f"{number:032x}", name=name, text=text) for number, (name, text) in enumerate(PROMPTS)
    ]
    stage.attach().open()


@scene()
def prompts_over_the_composer(stage: Stage) -> None:
    keep_prompts(stage)
    screen = stage.window.chat_screen
    screen.prompts.open()
    popover = screen.prompts.popover
    assert popover is not None
    stage.loop.until(lambda: popover.list.count() == 4)


@scene()
def no_prompts_right_to_left(stage: Stage) -> None:
    stage.attach().open()
    stage.window.chat_screen.prompts.open()


@scene(NARROW)
def prompts_narrow(stage: Stage) -> None:
    prompts_over_the_composer(stage)


def draw_dialog(name: str, mode: Mode, dialog: QDialog) -> None:
    dialog.ensurePolished()
    image = dialog.grab().toImage()
    assert image.save(str(OUT / f"{name}-{mode}.png"))
    assert drawn(image)[0] > 12


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_dialogs(mode: Mode, loop: Loop, qapp: QApplication) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    apply_theme(qapp, mode, zoom=1.0, reduced_motion=True)
    link = EngineLink(frame_ms=5)
    window = MainWindow(link)
    try:
        window.show()
        stage = Stage(loop, window, FakeClient(conversations(), loaded=fake_loaded()))
        keep_prompts(stage)
        library = window.chat_screen.prompts.manage()
        loop.until(lambda: library.list.count() == 4)
        library.list.setCurrentRow(2)
        draw_dialog("prompt_library", mode, library)
        library.close()
        form = FillDialog(window, stage.fake.prompt_list[0])
        form.open()
        form.fields["language"].setPlainText("Welsh")
        draw_dialog("prompt_places", mode, form)
        form.close()
    finally:
        window.close()
        loop.run(link.close())
        window.deleteLater()
        loop.turn()
        apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    draw_scene(name, mode, size, play, loop, qapp)
