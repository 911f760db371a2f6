"""Notifications: only of what took long, only while another program is in front, only where wanted, never with text."""

from __future__ import annotations

from typing import get_args

import pytest
from PySide6.QtWidgets import QApplication

from backend.api.schemas import Job, Message, TurnEnded, TurnStarted
from ui.bridge.engine_link import EngineLink
from ui.shell import notifier
from ui.shell.notifier import Notifier


class Told:
    def __init__(self, link: EngineLink, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link, self.time, self.wanted, self.said = link, 0.0, True, []
        self.front = False
        monkeypatch.setattr(notifier, "_in_front", lambda: self.front)
        self.notifier = Notifier(
            link, lambda: self.wanted, lambda: None, link, show=self.said.append, clock=lambda: self.time
        )  # type: ignore[attr-defined]

    def answer(self, seconds: float, status: str = "complete") -> list[str]:
        message = Message(id="m", conversation_id="c", parent_id=None, role="assistant", content="Private words")
        self.link.turn_started.emit(TurnStarted(conversation_id="c", user=None, assistant=message))
        self.time += seconds
        message.status = status  # type: ignore[assignment]
        self.link.turn_ended.emit(TurnEnded(conversation_id="c", message=message))
        return self._take()

    def job(self, kind: str, state: str, seconds: float = 60.0) -> list[str]:
        for now in ("started", "progress", state):
            job = Job(id=kind, kind=kind, title="Private name", state=now)  # type: ignore[arg-type]
            self.link.job_changed.emit(job)
            self.time += seconds
        return self._take()

    def _take(self) -> list[str]:
        said, self.said[:] = list(self.said), []
        return said


@pytest.fixture
def told(link: EngineLink, monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(link, monkeypatch)


def test_a_long_answer_is_told_and_a_short_one_is_not(told: Told) -> None:
    assert told.answer(30.0) == ["The answer is ready."]
    assert told.answer(3.0) == []
    assert told.answer(30.0, "failed") == ["The answer could not be finished."]
    assert told.answer(30.0, "stopped") == []  # somebody is there


def test_nothing_is_told_in_front_or_where_it_is_not_wanted(told: Told) -> None:
    told.front = True
    assert told.answer(30.0) == []
    told.front, told.wanted = False, False
    assert told.answer(30.0) == []


@pytest.mark.parametrize("kind", get_args(Job.__annotations__["kind"]) or ["compress", "download", "load_model"])
def test_jobs_are_told_without_their_names(told: Told, kind: str) -> None:
    for state in ("finished", "failed", "cancelled"):
        said = told.job(kind, state)
        assert all("Private" not in sentence for sentence in said)
        assert len(said) == (state != "cancelled") or kind not in ("compress", "download", "export", "load_model")


def test_without_a_tray_the_system_way_is_quiet(link: EngineLink, qapp: QApplication) -> None:
    made = Notifier(link, lambda: True, lambda: None, link)
    made._tell("The answer is ready.")
    made.hide()
