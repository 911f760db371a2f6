"""The wizard in the window: from page to page with mouse and keyboard, what cannot be done, what is said elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from backend.api.compression import Answer, ExportBuild, NewCompression, PlanCompression
from backend.api.schemas import ErrorInfo, LoadModel
from tests.fakes.client import FakeClient
from tests.fakes.compression_client import fake_compression, fake_errors, fake_positions, fake_result
from tests.ui.shell.support import Loop
from tests.ui.wizard.conftest import ORIGINAL
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.theme import apply_theme
from ui.widgets import ConfirmDialog
from ui.wizard.error_plot import ErrorPlot, decades
from ui.wizard.options_form import SLIDER
from ui.wizard.position_list import recommended
from ui.wizard.stage_list import stages_for
from ui.wizard.wizard_page import WizardPage

Key = Qt.Key


@pytest.fixture
def window(loop: Loop, link: EngineLink, qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    made = MainWindow(link, {})
    made.resize(1180, 860)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    loop.turn()
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


@pytest.fixture
def wizard(loop: Loop, window: MainWindow, fake: FakeClient) -> WizardPage:
    return opened(loop, window, fake)


def opened(loop: Loop, window: MainWindow, fake: FakeClient) -> WizardPage:
    window.link.attach(fake)
    loop.until(lambda: window.compression.status is not None and fake.following.is_set())
    page = window.show_wizard()
    loop.until(lambda: page.source.model.rowCount() or not fake.installed)
    return page


def planned(loop: Loop, page: WizardPage) -> WizardPage:
    page.source.next.click()
    loop.until(lambda: page.session.plan is not None)
    return page


def started(loop: Loop, page: WizardPage) -> WizardPage:
    planned(loop, page).plan.start.click()
    loop.until(lambda: page.page() is page.progress)
    return page


def dialog_of(window: QWidget) -> ConfirmDialog:
    found = [one for one in window.findChildren(ConfirmDialog) if one.isVisible()]
    assert len(found) == 1
    return found[0]


def focused(page: QWidget) -> QWidget | None:
    return page.window().focusWidget()


def test_the_whole_way_by_keyboard(loop: Loop, window: MainWindow, fake: FakeClient, wizard: WizardPage) -> None:
    assert focused(wizard) is wizard.source.list
    assert wizard.steps.accessibleName() == "Step 1 of 4: Model"
    QTest.keyClick(wizard.source.list, Key.Key_Return)
    loop.until(lambda: wizard.session.plan is not None)
    assert isinstance(request := fake.called("plan_compression")[0], PlanCompression)
    assert request.path == ORIGINAL.path
    assert focused(wizard) is wizard.plan.list
    assert wizard.plan.list.position().level == "spqr-3"  # type: ignore[union-attr]
    QTest.keyClick(wizard.plan.list, Key.Key_Up)
    assert wizard.plan.list.position().level == "aqlm-3x8"  # type: ignore[union-attr]
    QTest.keyClick(wizard.plan.list, Key.Key_Return)
    loop.until(lambda: wizard.page() is wizard.progress)
    assert isinstance(new := fake.called("start_compression")[0], NewCompression)
    assert (new.path, new.levels) == (ORIGINAL.path, ["aqlm-3x8"])
    assert focused(wizard) is wizard.progress.pause
    fake.compression_moved(0.5)
    loop.until(lambda: wizard.progress.plot.points())
    assert wizard.progress.line.text().startswith("50 % · layer 15 of 28 · about 9 minutes left")
    assert wizard.progress.bar.value() == 500
    assert "3.42 GB" in wizard.progress.memory.text()
    assert "98 parts done" in wizard.progress.plot.accessibleDescription()
    fake.compression_ended()
    loop.until(lambda: wizard.page() is wizard.result)
    assert wizard.steps.accessibleName() == "Step 4 of 4: Result"
    figures = wizard.result.figures.texts()
    assert {"4.72", "5.31", "0.093", "89 %", "71 tok/s", "587 MB", "3.05"} <= set(figures)
    assert wizard.result.summary.text().startswith("A little weaker")
    assert focused(wizard) is wizard.result.use
    QTest.keyClick(wizard.result.use, Key.Key_Space)
    loop.until(lambda: fake.called("load_model"))
    load = fake.called("load_model")[-1]
    assert isinstance(load, LoadModel)
    assert load.path == fake.compressions[0].out
    assert window.pages.currentWidget() is window.chat_screen


def test_a_build_is_exported_beside_and_says_where_it_is(loop: Loop, fake: FakeClient, wizard: WizardPage) -> None:
    started(loop, wizard)
    fake.compression_ended()
    loop.until(lambda: wizard.page() is wizard.result)
    page = wizard.result
    assert page.export.isVisible()
    page.export_to("/some/where/")
    loop.until(lambda: fake.called("export_build"))
    asked = fake.called("export_build")[-1]
    assert isinstance(asked, ExportBuild)
    name = fake.compressions[0].out.rpartition("/")[2].removesuffix(".nutshell")
    form = "hf-spqr" if fake.compressions[0].levels == ["spqr-3"] else "hf-aqlm"
    assert asked == ExportBuild(build=fake.compressions[0].out, out=f"/some/where/{name} {form}", format=form)
    fake.export_moved(1.0, 4.0)
    loop.until(lambda: page.export_words.text() == "Exporting: 25 %")
    assert not page.export.isEnabled()
    fake.exported(asked.out)
    loop.until(lambda: page.export_words.text().startswith(f"Exported to {asked.out} (369 MB). 2 of 168"))
    assert page.export.isEnabled()
    page.export_to("/some/where")
    fake.exported(error=ErrorInfo(code="conflict", what="It is there already."))
    loop.until(lambda: wizard.notice.text().startswith("It is there already."))
    assert page.export.isEnabled()
    fake.compressions[0].levels = ["q8"]
    page.show_export()
    assert page.export.isVisible()  # what the session knows is a copy, read when something changes
    wizard.session.refresh()
    loop.until(lambda: wizard.session.current is not None and wizard.session.current.levels == ["q8"])
    page.show_export()
    assert not page.export.isVisible()


def test_a_position_that_does_not_fit_says_why_and_cannot_be_started(
    loop: Loop, fake: FakeClient, wizard: WizardPage
) -> None:
    fake.plan_scale = 10.0
    planned(loop, wizard)
    positions = wizard.plan.list
    positions.setCurrentIndex(positions.positions.index(4))
    assert not wizard.plan.start.isEnabled()
    QTest.keyClick(positions, Key.Key_Return)
    assert not fake.called("start_compression")
    said = str(positions.positions.index(4).data(Qt.ItemDataRole.AccessibleTextRole))
    assert "Too big" in said
    assert "21.7 GB" in said
    positions.setCurrentIndex(positions.positions.index(1))
    assert wizard.plan.start.isEnabled()
    assert "Close other programs" in str(positions.currentIndex().data(Qt.ItemDataRole.AccessibleTextRole))


def test_a_click_on_the_curve_chooses(loop: Loop, wizard: WizardPage) -> None:
    planned(loop, wizard)
    curve, left = wizard.plan.curve, Qt.MouseButton.LeftButton
    for number in (0, 4, 1):
        QTest.mouseClick(curve, left, pos=curve.place_of(number).toPoint())
        assert wizard.plan.list.currentIndex().row() == number
    QTest.mouseClick(curve, left, pos=QPoint(curve.width() // 2, curve.height() - 2))
    assert wizard.plan.list.currentIndex().row() == 1
    heights = [curve.place_of(number).y() for number in range(5)]
    assert heights == sorted(heights, reverse=True)  # larger is better


def test_a_build_with_a_slider_has_several_levels_and_no_tuning(
    loop: Loop, fake: FakeClient, wizard: WizardPage
) -> None:
    planned(loop, wizard)
    form, positions = wizard.plan.form, wizard.plan.list
    form.tuning.setCurrentIndex(1)
    loop.until(lambda: not wizard.session.planning)
    form.slider.setChecked(True)
    assert not form.tuning.isEnabled()
    assert form.options().tuning == "none"
    loop.until(lambda: not wizard.session.planning)
    assert wizard.session.plan is not None
    order = [one.level for one in wizard.session.plan.positions]
    chosen = next(level for level in order if level not in SLIDER)
    assert form.levels(chosen, order) == [level for level in order if level in {chosen, *SLIDER}]
    positions.setCurrentIndex(positions.positions.index(order.index("aqlm-2x8")))
    QTest.keyClick(positions, Key.Key_Return)
    loop.until(lambda: fake.called("start_compression"))
    asked = fake.called("start_compression")[-1]
    assert isinstance(asked, NewCompression)
    assert asked.levels == [level for level in order if level in SLIDER]
    assert len(asked.levels) == 3
    form.slider.setChecked(False)
    assert form.tuning.isEnabled()
    assert form.levels("spqr-4", order) == ["spqr-4"]


def test_a_size_above_the_original_is_said_to_be(loop: Loop, wizard: WizardPage) -> None:
    planned(loop, wizard)
    page, plan = wizard.plan, wizard.session.plan
    assert plan is not None
    for number, position in enumerate(plan.positions):
        page.list.setCurrentIndex(page.list.positions.index(number))
        assert "larger than the original" not in page.expected.text()
        if position.error is None:
            plan.source.entry.bytes, kept = position.bytes, plan.source.entry.bytes
            page.refresh()
            assert page.expected.text().endswith("It would be larger than the original.")
            plan.source.entry.bytes = kept


def test_options_that_are_unfolded_are_scrolled_to(loop: Loop, window: MainWindow, wizard: WizardPage) -> None:
    window.resize(1000, 640)
    planned(loop, wizard)
    start, view = wizard.plan.start, wizard._area.viewport()
    wizard.plan.fold.click()

    def below() -> int:
        return start.mapTo(view, start.rect().bottomLeft()).y()

    loop.until(lambda: 0 < below() <= view.height())
    assert wizard._area.verticalScrollBar().value() > 0


def test_options_are_folded_and_go_along(loop: Loop, fake: FakeClient, wizard: WizardPage) -> None:
    planned(loop, wizard)
    form = wizard.plan.form
    assert not form.isVisible()
    wizard.plan.fold.click()
    assert form.isVisible()
    form.name.setText("Mine")
    form.add_texts(["/letters", "/code", "/letters"])
    form.own.setChecked(True)
    form.memory.setCurrentIndex(2)
    loop.until(lambda: len(fake.called("plan_compression")) == 2 and wizard.session.plan is not None)
    wizard.plan.start.click()
    loop.until(lambda: fake.called("start_compression"))
    new = fake.called("start_compression")[0]
    assert isinstance(new, NewCompression)
    assert (new.name, new.options.texts, new.options.own_text_only) == ("Mine", ["/letters", "/code"], True)
    assert new.options.memory == 4_000_000_000


def test_cancel_asks_and_deletes(loop: Loop, window: MainWindow, fake: FakeClient, wizard: WizardPage) -> None:
    started(loop, wizard)
    wizard.progress.cancel.click()
    dialog_of(window).reject()
    assert not fake.called("delete_compression")
    loop.turn()
    wizard.progress.cancel.click()
    dialog_of(window).accept()
    loop.until(lambda: wizard.page() is wizard.source)
    assert len(fake.called("delete_compression")) == 1
    assert fake.compressions == []


def test_pause_and_go_on(loop: Loop, fake: FakeClient, wizard: WizardPage) -> None:
    started(loop, wizard)
    fake.compression_moved(0.3)
    loop.until(lambda: wizard.session.fraction == 0.3)
    wizard.progress.pause.click()
    loop.until(lambda: wizard.progress.resume.isVisible())
    assert wizard.progress.line.text() == "Paused at 30 %"
    assert not wizard.progress.pause.isVisible()
    wizard.progress.resume.click()
    loop.until(lambda: wizard.progress.pause.isVisible())
    assert fake.called("resume_compression")


def test_a_failure_is_shown_with_its_details_and_can_go_on(loop: Loop, fake: FakeClient, wizard: WizardPage) -> None:
    started(loop, wizard)
    error = ErrorInfo(code="disk_full", what="The disk is full.", remedy="Free some space.", details="ENOSPC")
    fake.compression_ended("failed", error)
    loop.until(lambda: wizard.progress.problem.text() == "The disk is full. Free some space.")
    assert wizard.progress.resume.isVisible()
    wizard.progress.back.click()
    loop.until(lambda: wizard.page() is wizard.source and wizard.source.cards)
    wizard.source.cards[0].resume.click()
    loop.until(lambda: wizard.page() is wizard.progress and wizard.progress.pause.isVisible())


def test_unfinished_work_is_offered_on_the_first_page(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.compressions = [fake_compression("one", state="paused", done=700), fake_compression("two", state="failed")]
    wizard = opened(loop, window, fake)
    assert [card.accessibleName().partition(",")[0] for card in wizard.source.cards] == ["one", "two"]
    assert focused(wizard) is wizard.source.cards[0].resume
    assert wizard.source.cards[1].delete.accessibleName() == "Delete two"
    wizard.source.cards[1].delete.click()
    dialog_of(window).accept()
    loop.until(lambda: len(wizard.source.cards) == 1)


def test_a_result_is_reached_again_from_the_list_of_what_was_made(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    fake.compressions = [fake_compression(name, state="finished") for name in ("one", "two", "three")]
    for one in fake.compressions[:2]:
        one.result = fake_result()
    assert fake.compressions[1].result is not None
    fake.compressions[1].result.measured = None
    wizard = opened(loop, window, fake)
    loop.until(lambda: len(wizard.source.builds.cards) == 2)  # what has no result is not there
    assert wizard.source.builds.isVisible()
    first, second = wizard.source.builds.cards
    assert "587 MB" in first.figures.text()
    assert "perplexity 5.31 (+12 %)" in first.accessibleName()
    assert "71 tok/s" in first.accessibleName()
    assert "not measured" in second.figures.text()
    first.show_result.click()
    assert wizard.page() is wizard.result
    assert wizard.result.title.text() == "one is ready"
    wizard.result.back.click()
    loop.until(lambda: wizard.page() is wizard.source)
    second.show_result.click()
    assert wizard.result.title.text() == "two is ready"


def test_behind_a_tall_result_the_first_page_is_as_tall_as_before(
    loop: Loop, window: MainWindow, fake: FakeClient, wizard: WizardPage
) -> None:
    window.resize(1180, 860)
    content = wizard._area.widget()
    loop.turn()
    before = content.height()
    started(loop, wizard)
    fake.compression_ended()
    loop.until(lambda: wizard.page() is wizard.result and wizard.result.title.text())
    wizard.result.compare.click()
    loop.until(lambda: fake.called("compare_compression"))
    said = "so many words " * 50
    fake.compared([Answer(prompt="Why?", source=said, build=said, source_tok_s=9.0, build_tok_s=9.0)] * 3)
    loop.until(lambda: content.height() > before + 300)
    wizard.result.back.click()
    loop.until(lambda: wizard.page() is wizard.source and wizard.source.builds.cards)
    loop.until(lambda: content.height() == before)
    card = wizard.source.builds.cards[0]
    assert card.mapTo(wizard._area.viewport(), card.rect().bottomLeft()).y() <= wizard._area.viewport().height()


def test_a_crash_is_said_by_a_notice_that_goes_on(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.compressions = [fake_compression("Mine", state="interrupted", done=700)]
    window.link.attach(fake)
    loop.until(lambda: window.notice_bar.text() == "Making Mine: Interrupted at 43 %. Nothing is lost.")
    window.notice_bar.action_button().click()
    loop.until(lambda: fake.called("resume_compression"))
    loop.until(lambda: window.compression.running is not None)
    wizard = window.show_wizard()
    assert wizard.page() is wizard.progress
    assert window.notice_bar.text() == ""


def test_an_end_is_said_in_the_chat_and_leads_to_the_result(
    loop: Loop, window: MainWindow, fake: FakeClient, wizard: WizardPage
) -> None:
    started(loop, wizard)
    wizard.close_button.click()
    assert window.pages.currentWidget() is window.chat_screen
    fake.compression_ended()
    loop.until(lambda: window.notice_bar.text().endswith("is ready."))
    window.notice_bar.action_button().click()
    assert window.pages.currentWidget() is wizard
    assert wizard.page() is wizard.result
    wizard.close_button.click()
    window.show_wizard()
    assert wizard.page() is wizard.source  # it was seen


def test_without_the_packages_the_command_is_shown_and_copied(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.installed = False
    wizard = opened(loop, window, fake)
    assert wizard.page() is wizard.missing
    assert "1 GB" in wizard.missing.text.text()
    wizard.missing.copy.click()
    assert QGuiApplication.clipboard().text() == "python3 -m installer add compression"
    assert not wizard.steps.isVisible()
    fake.installed = True
    wizard.missing.again.click()
    loop.until(lambda: wizard.page() is wizard.source)


def test_models_that_cannot_be_made_smaller_cannot_be_chosen(loop: Loop, wizard: WizardPage) -> None:
    model = wizard.source.model
    rows = [model.index(row) for row in range(model.rowCount())]
    usable = [bool(row.flags() & Qt.ItemFlag.ItemIsSelectable) for row in rows]
    assert usable == sorted(usable, reverse=True)
    assert usable.count(False) == 2
    assert rows[0].data() == "Qwen2.5-Coder-1.5B-Instruct"  # not rounded yet
    assert "cannot" in str(rows[-2].data(Qt.ItemDataRole.AccessibleTextRole)) + str(
        rows[-1].data(Qt.ItemDataRole.AccessibleTextRole)
    )


def test_the_ways_in(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    window.link.attach(fake)
    loop.until(lambda: window.commands["model.compress"].isEnabled())
    action = window.commands["model.compress"]
    assert QKeySequence("Ctrl+Shift+M") in action.shortcuts()
    action.trigger()
    wizard = window.pages.currentWidget()
    assert isinstance(wizard, WizardPage)
    action.trigger()
    assert window.pages.currentWidget() is window.chat_screen
    window.chat_screen.view.empty_state().compress.click()
    assert window.pages.currentWidget() is wizard
    window.toggle_model_menu()
    assert window._model_menu is not None
    labels = [button.text() for button in window._model_menu.buttons]
    assert "Make a model smaller…" in labels


def test_the_engine_goes_and_comes_back(loop: Loop, window: MainWindow, fake: FakeClient, wizard: WizardPage) -> None:
    started(loop, wizard)
    fake.die()
    window.link.detach("The engine stopped.")
    assert not wizard.pages.isEnabled()
    assert wizard.away.isVisible()
    back = FakeClient(fake.details.values(), loaded=fake.loaded)
    back.compressions = fake.compressions
    back.compressions[0].job, back.compressions[0].state = None, "interrupted"
    window.link.attach(back)
    loop.until(lambda: wizard.pages.isEnabled() and wizard.session.current is not None)
    loop.until(lambda: wizard.progress.resume.isVisible())


@pytest.mark.parametrize("page", ["source", "plan", "progress", "result"])
def test_everything_that_takes_the_focus_has_a_name(
    loop: Loop, fake: FakeClient, wizard: WizardPage, page: str
) -> None:
    if page != "source":
        planned(loop, wizard)
        wizard.plan.fold.click()
    if page in ("progress", "result"):
        wizard.plan.start.click()
        loop.until(lambda: wizard.page() is wizard.progress)
    if page == "result":
        fake.compression_ended()
        loop.until(lambda: wizard.page() is wizard.result)
    found = [
        one for one in wizard.page().findChildren(QWidget)
        if one.isVisible() and one.focusPolicy() & Qt.FocusPolicy.TabFocus and one.isEnabled()
    ]  # fmt: skip
    assert found
    nameless = [
        one for one in found
        if not (one.accessibleName() or str(one.property("text") or "") or one.inherits("QLineEdit"))
        and one.objectName() not in ("qt_spinbox_lineedit",)
        and not one.inherits("QComboBoxPrivateContainer")
    ]  # fmt: skip
    assert [type(one).__name__ for one in nameless] == []


@pytest.mark.parametrize("width", [460, 700, 1180])
def test_no_page_is_wider_than_the_window(
    loop: Loop, window: MainWindow, fake: FakeClient, wizard: WizardPage, width: int
) -> None:
    window.resize(width, 800)
    started(loop, wizard)
    fake.compression_moved(0.5)
    loop.until(lambda: wizard.progress.plot.points())
    for page in (wizard.source, wizard.plan, wizard.progress, wizard.result):
        wizard._go(page)
        loop.turn(5)
        right = page.mapTo(wizard, QPoint(page.width(), 0)).x()
        assert right <= wizard.width(), type(page).__name__


# Parts


def test_the_plot_scales_by_decades() -> None:
    assert decades([]) == (-3, 0)
    assert decades([0.0]) == (-3, 0)
    assert decades([0.05, 0.02]) == (-2, -1)
    assert decades([0.01]) == (-2, -1)
    assert decades([0.0006, 0.3]) == (-4, 0)


def test_the_plot_takes_whatever_comes(qapp: QApplication) -> None:
    plot = ErrorPlot()
    plot.resize(300, 160)
    for number in (0, 1, 50, 196):
        plot.set_points(fake_errors(number), 28)
        assert not plot.grab().isNull()
        assert len(plot.points()) == number
    assert "Newest error" in plot.accessibleDescription()
    plot.set_points([], 0)
    assert plot.accessibleDescription() == ""


def test_what_is_recommended() -> None:
    positions = fake_positions()
    assert recommended(positions) == 2
    for one in positions[2:]:
        one.verdict = "no"
    assert recommended(positions) == 1
    for one in positions:
        one.verdict = "no"
    assert recommended(positions) == -1
    positions[0].verdict = "if"
    assert recommended(positions) == 0
    assert recommended([]) == -1


def test_stages_follow_from_the_options() -> None:
    assert stages_for("none", 1) == ["check", "calibrate", "quantize", "write", "measure"]
    assert "tune" in stages_for("pv", 1)
    assert "sensitivity" in stages_for("none", 3)
