"""The page of logs: what is shown, filtered, followed and copied."""

# ruff: noqa: F811 - fixtures of the shell are asked for by their names
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication

from backend.api.schemas import HardwareReport
from tests.fakes.client import FakeClient
from tests.ui.shell.conftest import fake, link  # noqa: F401 - fixtures
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.logs.log_page import About, LogPage, tail


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "engine.log").write_text("one\nTWO words\nthree\n", "utf-8")
    return tmp_path


@pytest.fixture
def page(folder: Path, loop: Loop, link: EngineLink) -> Iterator[LogPage]:
    told: list[HardwareReport | None] = []

    def describe(report: HardwareReport | None) -> str:
        told.append(report)
        return "no engine" if report is None else report.cpu.name

    made = LogPage(About(folder, describe), link)
    made.resize(900, 600)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    loop.turn()


def test_it_shows_filters_and_copies(page: LogPage, folder: Path) -> None:
    assert page.text.toPlainText() == "one\nTWO words\nthree"
    assert page.state.text() == "3 lines"
    page.filter.setText("two")
    assert page.text.toPlainText() == "TWO words"
    assert page.state.text() == "1 of 3 lines"
    page.copy.click()
    assert QGuiApplication.clipboard().text() == "TWO words"
    page.filter.clear()
    page.source.setCurrentIndex(1)
    assert page.text.toPlainText() == ""
    assert page.state.text() == "Nothing was written yet."


def test_it_follows_while_it_is_on_the_screen(loop: Loop, page: LogPage, folder: Path) -> None:
    page._clock.setInterval(5)
    with (folder / "engine.log").open("a", encoding="utf-8") as file:
        file.write("\n".join(f"line {number}" for number in range(500)) + "\n")
    loop.until(lambda: page.text.toPlainText().endswith("line 499"))
    bar = page.text.verticalScrollBar()
    assert bar.value() == bar.maximum()
    page.follow.setChecked(False)
    assert not page._clock.isActive()
    page.follow.setChecked(True)
    page.hide()
    assert not page._clock.isActive()


def test_a_long_log_shows_its_end_in_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_bytes(b"\xff" + b"".join(b"line %06d\n" % number for number in range(10_000)))
    assert tail(path, 120)[0] == "line 009991"
    assert tail(path, 120)[-1] == "line 009999"
    assert tail(tmp_path / "none.log") == []


def test_diagnostics_are_copied_with_and_without_an_engine(
    loop: Loop,
    link: EngineLink,
    fake: FakeClient,
    page: LogPage,
) -> None:
    page.diagnostics.click()
    assert QGuiApplication.clipboard().text() == "no engine"
    link.attach(fake)
    loop.until(lambda: link.ready)
    page.diagnostics.click()
    loop.until(lambda: QGuiApplication.clipboard().text() == "Intel Xeon (Ice Lake)")
