"""The way to a first model with the real engine and a hub on loopback: asked, fetched with faults, tried, talked to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from backend.config.paths import Paths
from tests.fakes.hub import FakeHub, Fault
from tests.journeys.person import Person, play
from ui.recommend.recommend_page import RecommendPage

pytestmark = [pytest.mark.journey, pytest.mark.model]


def _opened(person: Person) -> RecommendPage:
    person.window.commands["model.recommend"].trigger()
    page = person.window.pages.currentWidget()
    assert isinstance(page, RecommendPage)
    return page


async def _to_download(person: Person, hub: FakeHub, content: bytes, faults: Sequence[Fault]) -> tuple[str, str]:
    """Answers the question and takes the first model that comes as one file, which one depends on the machine.

    Returns:
        Its repository and the file there, whose download meets the faults.
    """
    page = _opened(person)
    page.purpose.buttons["chat"].click()
    await person.until(lambda: page.models.cards)
    card = next(card for card in page.models.cards if card.one.choice != "safetensors")
    repository, file = card.one.offer.repository, f"weights-{card.one.choice}.gguf"
    hub.put(repository, file, content)
    hub.faults[file].extend(faults)
    card.button.click()
    return repository, file


def test_from_the_question_over_a_broken_line_to_an_answer(
    hub: FakeHub, home: Paths, qapp: QApplication, smollm2: Path
) -> None:
    content = smollm2.read_bytes()
    held = threading.Event()
    faults = [Fault(cut=5_000_000), Fault(status=503), Fault(hold=held)]
    fetched: list[tuple[str, str]] = []

    async def act(person: Person) -> None:
        await person.ready()
        fetched.append(await _to_download(person, hub, content, faults))
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
        assert Path(loaded.entry.path).name == fetched[0][1]
        person.brief()
        answer = await person.answered("And with it?")
        assert answer.model == loaded.entry.id

    play(qapp, act)
    repository, file = fetched[0]
    assert hub.sent(file) < len(content) + 20_000_000, "what had arrived is not fetched again"
    asked = {one.path.split("/resolve/")[0].lstrip("/") for one in hub.asked if "/resolve/" in one.path}
    assert asked == {repository}


def test_an_engine_that_dies_on_the_way_goes_on_from_what_arrived(
    hub: FakeHub, home: Paths, qapp: QApplication, smollm2: Path
) -> None:
    content = smollm2.read_bytes()
    held = threading.Event()

    async def act(person: Person) -> None:
        await person.ready()
        await _to_download(person, hub, content, [Fault(hold=held)])
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
