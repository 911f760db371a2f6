"""Getting a model in the window: search, choose, watch, pause, use; what is said when it does not work."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from backend.api.downloads import NewDownload
from backend.api.errors import OfflineError
from backend.api.schemas import ErrorInfo, LoadModel
from tests.fakes.client import FakeClient
from tests.fakes.download_client import fake_download, fake_offers
from tests.ui.shell.support import Loop
from ui.library.download_page import DownloadPage
from ui.library.offer_list import OfferList
from ui.library.repository_view import RepositoryView, ResultList
from ui.main_window import MainWindow
from ui.viewmodels import download_session
from ui.viewmodels.download_session import state_words

REPO = "bartowski/Qwen2.5-7B-Instruct-GGUF"


def opened(window: MainWindow, fake: FakeClient, loop: Loop) -> DownloadPage:
    window.link.attach(fake)
    loop.until(lambda: window.commands["model.get"].isEnabled())
    window.commands["model.get"].trigger()
    page = window.pages.currentWidget()
    assert isinstance(page, DownloadPage)
    loop.until(lambda: len(page.cards) == len(fake.fetched))
    return page


def type_in(page: DownloadPage, text: str) -> None:
    page.field.setText(text)
    QTest.keyClick(page.field, Qt.Key.Key_Return)


def test_nothing_is_asked_of_the_hub_before_the_person_asks(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    opened(window, fake, loop)
    assert not [call for call in fake.calls if call[0] in ("search_hub", "repository")]


def test_search_look_download_use(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    assert window.focusWidget() is page.field
    type_in(page, "qwen")
    loop.until(lambda: isinstance(page.answer, ResultList))
    assert isinstance(page.answer, ResultList)
    page.answer.rows[0].click()
    loop.until(lambda: isinstance(page.answer, RepositoryView))
    view = page.answer
    assert isinstance(view, RepositoryView)
    loop.until(lambda: view.answers["F16"].isVisible())
    assert ("repository_fits", REPO) in fake.calls
    assert view.answers["Q2_K"].text() == "Fits · 3.9 GB of memory · about 14 tokens a second"
    assert view.answers["F16"].text().startswith("Does not fit. A machine with 20 GB")
    assert {name: (one.text(), one.isEnabled()) for name, one in view.buttons.items()} == {
        "Q2_K": ("Here", False), "Q4_K_M": ("Go on", True), "F16": ("Download", True),
    }  # fmt: skip
    view.buttons["Q4_K_M"].click()
    loop.until(lambda: page.cards)
    assert ("start_download", NewDownload(repository=REPO, choice="Q4_K_M")) in fake.calls
    (card,) = page.cards.values()
    loop.until(lambda: card.go.text() == "Pause")
    (one,) = fake.fetched
    fake.download_moved(one, 0.5)
    loop.until(lambda: card.bar.value() == 500)
    assert card.state.text() == "2.34 GB of 4.68 GB"
    fake.download_ended(one)
    loop.until(lambda: card.go.text() == "Use it")
    card.go.click()
    loop.until(lambda: any(call[0] == "load_model" for call in fake.calls))
    assert ("load_model", LoadModel(path="hub/a-Q4_K_M.gguf", kv="f16")) in fake.calls
    assert window.pages.currentWidget() is window.chat_screen


def test_a_whole_name_or_an_address_opens_the_repository(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    for text in (REPO, f"https://huggingface.co/{REPO}", f"  https://huggingface.co/{REPO}/ "):
        page.session.back()
        type_in(page, text)
        loop.until(lambda: page.session.repository is not None)
    assert [call[1] for call in fake.calls if call[0] == "repository"] == [REPO] * 3


def test_back_returns_to_what_was_found(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    type_in(page, "qwen")
    loop.until(lambda: page.session.results)
    page.session.open(REPO)
    loop.until(lambda: isinstance(page.answer, RepositoryView))
    assert isinstance(page.answer, RepositoryView)
    page.answer.back.click()
    loop.until(lambda: isinstance(page.answer, ResultList))


def test_pause_and_go_on(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.fetched = [fake_download("interrupted")]
    page = opened(window, fake, loop)
    (card,) = page.cards.values()
    assert card.state.text().startswith("was interrupted")
    card.go.click()
    loop.until(lambda: card.go.text() == "Pause")
    assert card.state.text().startswith("waits for the one before it")
    fake.download_moved(fake.fetched[0], 0.3)
    loop.until(lambda: card.bar.value() == 300)
    card.go.click()
    loop.until(lambda: card.state.text().startswith("paused"))
    card.delete.click()
    loop.until(lambda: not page.cards)


@pytest.mark.parametrize("text", ["qwen", REPO])
def test_offline_is_a_sentence_on_the_page(window: MainWindow, fake: FakeClient, loop: Loop, text: str) -> None:
    page = opened(window, fake, loop)
    for name in ("search_hub", "repository"):
        fake.failures[name] = OfflineError("Nutshell is offline.", remedy="Switch it off in Settings.")
    type_in(page, text)
    loop.until(lambda: page.notice.isVisible())
    assert page.notice.text() == "Nutshell is offline. Switch it off in Settings."
    assert page.search.isEnabled()


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(
    window: MainWindow, fake: FakeClient, loop: Loop
) -> None:
    page = opened(window, fake, loop)
    page.session.find("qwen")
    page.session.find(REPO)
    loop.until(lambda: page.session.repository is not None)
    assert page.session.results is None


def test_the_end_is_said_where_the_page_is_not(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.fetched = [fake_download("paused")]
    page = opened(window, fake, loop)
    page.session.resume(fake.fetched[0].id)
    loop.until(lambda: fake.fetched[0].job and page.session.downloads[0].job)
    page.close_button.click()
    assert window.pages.currentWidget() is window.chat_screen
    fake.download_ended(fake.fetched[0])
    loop.until(lambda: window.notice_bar.isVisible())
    assert window.notice_bar.text() == "Qwen2.5-7B-Instruct-GGUF is here."
    window.notice_bar.action_button().click()
    loop.until(lambda: any(call[0] == "load_model" for call in fake.calls))


def test_a_failure_is_said_on_its_card(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.fetched = [fake_download("paused")]
    page = opened(window, fake, loop)
    page.session.resume(fake.fetched[0].id)
    loop.until(lambda: page.session.downloads[0].job)
    fake.download_ended(
        fake.fetched[0], "failed", ErrorInfo(code="disk_full", what="The disk is full.", remedy="Tidy.")
    )
    (card,) = page.cards.values()
    loop.until(lambda: card.problem.isVisible())
    assert card.problem.text() == "The disk is full. Tidy."
    assert card.go.text() == "Go on"


def test_words_say_rate_and_time_left(window: MainWindow, fake: FakeClient, loop: Loop,
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    one = fake_download("running", done=0.5)
    assert state_words(one, 39_000_000) == "2.34 GB of 4.68 GB · 39 MB a second · 60 s left"
    assert state_words(one, 3_900_000).endswith("3.9 MB a second · 10 min left")
    clock = itertools.count(10.0)
    monkeypatch.setattr(download_session.time, "monotonic", lambda: next(clock))
    fake.fetched = [one]
    one.job = "job-1"
    page = opened(window, fake, loop)
    for fraction in (0.5, 0.6, 0.7):
        fake.download_moved(one, fraction)
        loop.until(lambda wanted=fraction: next(iter(page.cards.values())).bar.value() == round(1000 * wanted))  # type: ignore[misc]
    assert page.session.rate(page.session.downloads[0]) == pytest.approx(468_000_000, rel=0.5)


class TestCatalogue:
    def offered(self, window: MainWindow, fake: FakeClient, loop: Loop) -> tuple[DownloadPage, OfferList]:
        fake.catalogue = fake_offers()
        page = opened(window, fake, loop)
        loop.until(lambda: isinstance(page.answer, OfferList))
        assert isinstance(page.answer, OfferList)
        return page, page.answer

    def test_it_is_there_before_anything_is_asked_of_the_hub(
        self, window: MainWindow, fake: FakeClient, loop: Loop
    ) -> None:
        _, found = self.offered(window, fake, loop)
        assert [offer.id for offer in found.shown] == [offer.id for offer in fake.catalogue]
        assert not [call for call in fake.calls if call[0] in ("search_hub", "repository")]

    def test_words_filter_it_while_they_are_typed_and_enter_asks_the_hub(
        self, window: MainWindow, fake: FakeClient, loop: Loop
    ) -> None:
        page, found = self.offered(window, fake, loop)
        page.field.setText("qwen coder")
        assert found.shown
        assert all("coder" in offer.name.lower() for offer in found.shown)
        page.field.setText("nothing of this name")
        assert not found.shown
        assert not found.nothing.isHidden()
        page.field.setText("qwen")
        QTest.keyClick(page.field, Qt.Key.Key_Return)
        loop.until(lambda: isinstance(page.answer, ResultList))
        page.field.setText("")
        QTest.keyClick(page.field, Qt.Key.Key_Return)
        assert isinstance(page.answer, OfferList)

    def test_a_purpose_filters_it(self, window: MainWindow, fake: FakeClient, loop: Loop) -> None:
        _, found = self.offered(window, fake, loop)
        code = next(button for button in found.uses.buttons() if button.text() == "Code")
        code.click()
        assert found.shown
        assert all("code" in offer.uses for offer in found.shown)
        found.uses.buttons()[0].click()
        assert len(found.shown) == len(fake.catalogue)

    def test_a_look_asks_for_the_build_that_was_planned(self, window: MainWindow, fake: FakeClient, loop: Loop) -> None:
        _, found = self.offered(window, fake, loop)
        first = found.shown[0]
        found.buttons[first.id].click()
        loop.until(lambda: ("repository", first.repository) in fake.calls)


def test_what_cannot_be_known_is_said(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.failures["repository_fits"] = OfflineError("Nutshell is offline.", why="Offline mode is on.")
    page = opened(window, fake, loop)
    type_in(page, REPO)
    loop.until(lambda: isinstance(page.answer, RepositoryView) and "offline" in page.answer.notice.text())
    assert isinstance(page.answer, RepositoryView)
    assert page.answer.buttons["Q4_K_M"].isEnabled()
    assert page.answer.answers["Q4_K_M"].isHidden()


def test_a_search_says_what_likely_fits(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    type_in(page, "qwen")
    loop.until(lambda: isinstance(page.answer, ResultList))
    assert isinstance(page.answer, ResultList)
    texts = [label.text() for label in page.answer.findChildren(QLabel)]
    assert "7.6B parameters · with 4 bits about 4.62 GB: likely fits" in texts
