"""The way to a first model with the real engine and a hub on loopback: asked, fetched with faults, tried, talked to."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from backend.config.paths import Paths
from tests.fakes.hub import FakeHub, Fault
from tests.journeys.person import Person, play
from ui.recommend.recommend_page import RecommendPage

pytestmark = [pytest.mark.journey, pytest.mark.model]

_FILE = "weights-Q4_K_M.gguf"


def _opened(person: Person) -> RecommendPage:
    person.window.commands["model.recommend"].trigger()
    page = person.window.pages.currentWidget()
    assert isinstance(page, RecommendPage)
    return page


async def _to_download(person: Person, hub: FakeHub, content: bytes) -> str:
    """Answers the question and takes the first model that comes as one file. Its repository."""
    page = _opened(person)
    page.purpose.buttons["chat"].click()
    await person.until(lambda: page.models.cards)
    card = next(card for card in page.models.cards if card.one.choice == "Q4_K_M")
    repository: str = card.one.offer.repository
    hub.put(repository, _FILE, content)
    card.button.click()
    return repository


def test_from_the_question_over_a_broken_line_to_an_answer(
    hub: FakeHub, home: Paths, qapp: QApplication, smollm2: Path
) -> None:
    content = smollm2.read_bytes()
    held = threading.Event()
    hub.faults[_FILE].extend([Fault(cut=5_000_000), Fault(status=503), Fault(hold=held)])
    repositories = []

    async def act(person: Person) -> None:
        await person.ready()
        repositories.append(await _to_download(person, hub, content))
        page = person.window.pages.currentWidget()
        await person.until(lambda: page.arriving.card is not None and page.arriving.card.bar.value() > 0)
        page.close_button.click()  # it is left, and found again where it was
        assert person.window.pages.currentWidget() is person.window.chat_screen
        person.brief()
        await person.answered("Meanwhile?")
        held.set()
        page = _opened(person)
        await person.until(lambda: page.session.trial is not None or page.notice.isVisible())
        assert page.session.trial is not None, person.shown_text()
        trial = page.session.trial
        assert trial.tokens >= 10
        assert trial.tok_s > 0
        assert 0 < trial.low < trial.expected < trial.high
        assert "It works." in person.shown_text()
        page.trial.go.click()
        loaded = person.window.models.loaded
        assert Path(loaded.entry.path).name == _FILE
        person.brief()
        answer = await person.answered("And with it?")
        assert answer.model == loaded.entry.id

    play(qapp, act)
    assert hub.sent(_FILE) < len(content) + 20_000_000, "what had arrived is not fetched again"
    assert {one.path.split("/resolve/")[0].lstrip("/") for one in hub.asked if "/resolve/" in one.path} == {
        *repositories
    }


def test_an_engine_that_dies_on_the_way_goes_on_from_what_arrived(
    hub: FakeHub, home: Paths, qapp: QApplication, smollm2: Path
) -> None:
    content = smollm2.read_bytes()
    held = threading.Event()
    hub.faults[_FILE].append(Fault(hold=held))

    async def act(person: Person) -> None:
        await person.ready()
        await _to_download(person, hub, content)
        page = person.window.pages.currentWidget()
        await person.until(lambda: page.arriving.card is not None and page.arriving.card.bar.value() > 0)
        person.engine().kill()
        held.set()
        await person.until(lambda: not page.session.ready)
        await person.until(lambda: page.session.ready)
        await person.ready()
        card = page.arriving.card
        assert card is not None
        card.go.click()  # resumes
        await person.until(lambda: page.session.trial is not None or page.notice.isVisible())
        assert page.session.trial is not None, person.shown_text()

    play(qapp, act, faults=True)
