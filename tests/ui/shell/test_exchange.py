"""Conversations as files, from the window."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtWidgets import QWidget

from backend.api.schemas import ErrorInfo
from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.shell.exchange import Exchange, file_stem, write_pdf
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.model_session import ModelSession


class Stage:
    def __init__(self, loop: Loop, link: EngineLink, fake: FakeClient) -> None:
        self.loop, self.fake = loop, fake
        self.window = QWidget()
        self.chat = ChatSession(link, ModelSession(link, self.window), self.window)
        self.exchange = Exchange(link, self.chat.list, self.window)
        self.said: list[str] = []
        self.problems: list[ErrorInfo] = []
        self.exchange.said.connect(self.said.append)
        self.exchange.problem.connect(self.problems.append)
        link.attach(fake)
        loop.until(lambda: len(self.chat.list) == len(fake.details))


@pytest.fixture
def stage(loop: Loop, link: EngineLink, fake: FakeClient) -> Stage:
    return Stage(loop, link, fake)


@pytest.mark.parametrize(("file_format", "ending", "start"), [("markdown", "md", b"# Merge"), ("pdf", "pdf", b"%PDF")])
def test_one_conversation_is_written(stage: Stage, tmp_path: Path, file_format, ending: str, start: bytes) -> None:
    path = tmp_path / f"x.{ending}"
    stage.exchange.export(next(iter(stage.fake.details)), file_format, path)
    stage.loop.until(lambda: stage.said or stage.problems)
    assert path.read_bytes().startswith(start)
    assert stage.said == [f"Saved as x.{ending}."]


def test_several_get_names_of_their_own_and_overwrite_nothing(stage: Stage, tmp_path: Path) -> None:
    for detail in stage.fake.details.values():
        detail.conversation.title = "a/b: <c>?"
    for conversation in list(stage.fake.details.values()):
        stage.chat.list.put(conversation.conversation)
    (tmp_path / "a b c.json").write_text("mine")
    stage.exchange.export_all(list(stage.fake.details), "json", tmp_path)
    stage.loop.until(lambda: len(stage.said) == 3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a b c 2.json", "a b c 3.json", "a b c 4.json", "a b c.json"]
    assert (tmp_path / "a b c.json").read_text() == "mine"


def test_what_cannot_be_written_is_said(stage: Stage, tmp_path: Path) -> None:
    stage.exchange.export(next(iter(stage.fake.details)), "markdown", tmp_path / "no" / "x.md")
    stage.loop.until(lambda: stage.problems)
    assert stage.problems[0].what == "x.md could not be written."
    assert stage.problems[0].why


def test_a_file_is_taken_in_and_shown(stage: Stage) -> None:
    shown: list[str] = []
    stage.exchange.imported.connect(shown.append)
    stage.exchange.import_file("some/conversations.json")
    stage.loop.until(lambda: shown)
    assert stage.fake.called("import_file") == ["some/conversations.json"]
    assert stage.chat.list.get(shown[0]) is not None
    assert stage.said


@pytest.mark.parametrize(
    ("title", "stem"),
    [("", "Conversation"), ("...", "Conversation"), ("a\u202eb/c", "a b c"), ("x" * 300, "x" * 80), (" CON. ", "CON")],
)
def test_names_of_files(title: str, stem: str) -> None:
    assert file_stem(title) == stem


def test_a_page_becomes_a_pdf_that_loads_nothing(tmp_path: Path, stage: Stage) -> None:
    page = "<h1>Title</h1><p>text</p><img src='file:///etc/hostname'><table><tr><td>1</td></tr></table>" * 60
    assert write_pdf(tmp_path / "x.pdf", page) == ""
    data = (tmp_path / "x.pdf").read_bytes()
    assert data.count(b"/Type /Page\n") > 1 or data.count(b"/Page") > 2
