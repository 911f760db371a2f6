"""Every state of the wizard as a picture, light and dark, beside those of `test_gallery`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QSize, Qt, QTranslator
from PySide6.QtWidgets import QApplication

from backend.api.compression import Answer
from backend.api.errors import UnsupportedModelError
from backend.api.schemas import ErrorInfo, ModelEntry
from tests.fakes.compression_client import fake_compression, fake_positions, fake_result
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import MEDIUM, NARROW, Stage, draw_scene
from ui.theme import Mode
from ui.wizard.wizard_page import WizardPage

WIDE, TALL = QSize(1180, 860), QSize(1180, 1040)
LONG = "Qwen2.5-Coder-1.5B-Instruct-with-a-name-that-somebody-made-much-longer-than-any-row-of-any-list-can-show"
Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[QSize, Scene]] = {}
PROMPT = "Explain in two sentences why the sky is blue."


class Longer(QTranslator):
    """Every sentence a third longer, in words that do not break well."""

    def translate(self, context: str, source: str, disambiguation: str | None = None, n: int = -1) -> str:
        return source + " " + "Bestimmungsverordnung"[: max(4, len(source) // 3)]


def scene(size: QSize = WIDE) -> Callable[[Scene], Scene]:
    def keep(function: Scene) -> Scene:
        SCENES[f"wizard_{function.__name__}"] = (size, function)
        return function

    return keep


def opened(stage: Stage) -> WizardPage:
    stage.fake.entries.append(
        ModelEntry(
            id="f" * 16, name="Qwen2.5-Coder-1.5B-Instruct", path="models/Qwen2.5-Coder-1.5B-Instruct", source="file",
            bytes=3_090_000_000, architecture="qwen2", parameters=1_540_000_000, quantization="BF16",
            context_length=32768, layers=28,
        )
    )  # fmt: skip
    stage.window.link.attach(stage.fake)
    stage.loop.until(lambda: stage.window.compression.status is not None)
    page = stage.window.show_wizard()
    stage.loop.until(lambda: page.source.model.rowCount() == len(stage.fake.entries) or not stage.fake.installed)
    return page


def planned(stage: Stage) -> WizardPage:
    page = opened(stage)
    page.source.next.click()
    stage.loop.until(lambda: page.session.plan is not None or page.session.plan_error is not None)
    return page


def running(stage: Stage, fraction: float = 0.43) -> WizardPage:
    page = planned(stage)
    page.plan.start.click()
    stage.loop.until(lambda: page.page() is page.progress)
    if fraction:
        stage.fake.compression_moved(fraction)
        stage.loop.until(lambda: page.progress.plot.points())
    return page


def finished(stage: Stage) -> WizardPage:
    page = running(stage)
    stage.fake.compression_ended()
    stage.loop.until(lambda: page.page() is page.result and page.result.title.text())
    return page


@scene()
def models(stage: Stage) -> None:
    opened(stage)


@scene()
def models_and_unfinished_work(stage: Stage) -> None:
    broken = fake_compression(LONG, state="failed", done=200.0)
    broken.error = ErrorInfo(code="disk_full", what="The disk is full.", remedy="Free some space and go on.")
    stage.fake.compressions = [fake_compression(state="paused", done=700.0), broken]
    opened(stage)


@scene()
def models_and_what_was_made(stage: Stage) -> None:
    stage.fake.compressions = [fake_compression(state="finished"), fake_compression(LONG, state="finished")]
    for one in stage.fake.compressions:
        one.result = fake_result()
    opened(stage)


@scene()
def no_models(stage: Stage) -> None:
    stage.fake.entries = []
    stage.window.link.attach(stage.fake)
    page = stage.window.show_wizard()
    stage.loop.until(lambda: page.session.sources is not None)


@scene()
def packages_missing(stage: Stage) -> None:
    stage.fake.installed = False
    opened(stage)


@scene()
def sizes(stage: Stage) -> None:
    planned(stage)


@scene()
def sizes_of_a_large_model(stage: Stage) -> None:
    stage.fake.plan_scale = 10.0
    stage.fake.positions = fake_positions(10.0)
    stage.fake.positions[4].error = ErrorInfo(code="model_error", what="Layers of this width cannot be stored so.")
    stage.fake.positions[4].limit = "unknown"
    page = planned(stage)
    page.plan.list.setCurrentIndex(page.plan.list.positions.index(3))


@scene()
def sizes_awaited(stage: Stage) -> None:
    page = opened(stage)
    page.session.planning = LONG
    page._go(page.plan)


@scene()
def sizes_refused(stage: Stage) -> None:
    stage.fake.failures["plan_compression"] = UnsupportedModelError(
        "This model holds numbers that are none.", why="Its layer 3 has NaN in it.", remedy="Download it again.",
        details="model.layers.3.mlp.up_proj",
    )  # fmt: skip
    planned(stage)


@scene(TALL)
def options(stage: Stage) -> None:
    page = planned(stage)
    page.plan.fold.click()
    page.plan.form.add_texts(["/home/me/Documents/letters", "/home/me/a/" + LONG + "/notes.md"])


@scene()
def starting(stage: Stage) -> None:
    running(stage, 0.0)


@scene()
def working(stage: Stage) -> None:
    running(stage)


@scene()
def measuring(stage: Stage) -> None:
    page = running(stage)
    stage.fake.compression_moved(1.0, "measure", seconds_left=None)
    stage.loop.until(lambda: "measured" in page.progress.line.text())


@scene()
def paused(stage: Stage) -> None:
    page = running(stage)
    page.progress.pause.click()
    stage.loop.until(lambda: page.progress.resume.isVisible())


@scene()
def failed(stage: Stage) -> None:
    page = running(stage)
    stage.fake.compression_ended(
        "failed",
        ErrorInfo(
            code="out_of_memory", what="The compression was ended by the system.",
            why="This happens when memory runs out.",
            remedy="What is done is kept. Close other programs, or allow less memory, and go on.", details="Killed",
        ),
    )  # fmt: skip
    stage.loop.until(lambda: page.progress.problem.text())


@scene()
def result(stage: Stage) -> None:
    finished(stage)


@scene(QSize(1180, 1500))
def result_with_answers(stage: Stage) -> None:
    page = finished(stage)
    page.result.compare.click()
    stage.loop.until(lambda: stage.fake.called("compare_compression"))
    text = "Air scatters blue light more than red, because its molecules are much smaller than the waves. "
    stage.fake.compared(
        [
            Answer(prompt=PROMPT, source=text * 2, build=text, source_tok_s=9.1, build_tok_s=70.9),
            Answer(prompt="Add 17 and 25.", source="42", build="17 + 25 = 42", source_tok_s=9.3, build_tok_s=71.2),
        ]
    )
    stage.loop.until(lambda: page.session.answers)


@scene()
def result_not_measured(stage: Stage) -> None:
    page = running(stage)
    [record] = stage.fake.compressions
    record.name = LONG
    record.result = fake_result()
    record.result.measured = None
    record.result.measure_error = ErrorInfo(code="out_of_memory", what="There was not enough memory to measure it.")
    stage.fake.compression_ended()
    stage.loop.until(lambda: page.result.title.text())


@scene()
def offered_after_a_crash(stage: Stage) -> None:
    stage.fake.compressions = [fake_compression(state="interrupted", done=700.0)]
    stage.attach()
    stage.loop.until(lambda: stage.window.notice_bar.text())


@scene(MEDIUM)
def sizes_medium(stage: Stage) -> None:
    planned(stage)


@scene(NARROW)
def sizes_narrow(stage: Stage) -> None:
    planned(stage)


@scene(NARROW)
def working_narrow(stage: Stage) -> None:
    running(stage)


@scene()
def result_exported(stage: Stage) -> None:
    page = finished(stage)
    page.result.export_to("/home/me/models")
    stage.loop.until(lambda: stage.fake.called("export_build"))
    stage.fake.exported("/home/me/models/qwen hf-aqlm")
    stage.loop.until(lambda: "Exported" in page.result.export_words.text())
    bar = page._area.verticalScrollBar()
    stage.loop.turn()
    bar.setValue(bar.maximum())


@scene(NARROW)
def result_narrow(stage: Stage) -> None:
    finished(stage)


@scene(TALL)
def models_in_longer_words(stage: Stage) -> None:
    stage.fake.compressions = [fake_compression(LONG, state="paused", done=700.0)]
    opened(stage)


@scene(TALL)
def sizes_in_longer_words(stage: Stage) -> None:
    page = planned(stage)
    page.plan.fold.click()


@scene(TALL)
def working_in_longer_words(stage: Stage) -> None:
    running(stage)


@scene(TALL)
def result_in_longer_words(stage: Stage) -> None:
    finished(stage)


@scene()
def sizes_right_to_left(stage: Stage) -> None:
    stage.fake.plan_scale = 8.0
    QApplication.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # `draw_scene` takes it back
    planned(stage)


@scene()
def models_right_to_left(stage: Stage) -> None:
    QApplication.setLayoutDirection(Qt.LayoutDirection.RightToLeft)
    stage.fake.compressions = [fake_compression(state="paused", done=700.0)]
    opened(stage)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    longer = Longer() if "longer" in name else None
    if longer is not None:
        qapp.installTranslator(longer)
    try:
        draw_scene(name, mode, size, play, loop, qapp)
    finally:
        if longer is not None:
            qapp.removeTranslator(longer)
