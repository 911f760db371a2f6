"""The way to a first model: each screen, leaving and coming back, and what is said when a step goes wrong."""

from __future__ import annotations

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel, QWidget

from backend.api.downloads import NewDownload, Recommendation
from backend.api.errors import OfflineError
from backend.api.schemas import ErrorInfo, LoadModel, ModelEntry
from tests.fakes.client import FakeClient, fake_loaded
from tests.fakes.download_client import fake_download, fake_recommendations, fake_repository
from tests.ui.shell.support import Loop, shown_window
from ui.main_window import MainWindow
from ui.recommend.recommend_page import RecommendPage
from ui.recommend.words import purposes
from ui.wizard.wizard_page import WizardPage

PATH = "hub/a-Q4_K_M.gguf"


def opened(window: MainWindow, fake: FakeClient, loop: Loop) -> RecommendPage:
    window.link.attach(fake)
    loop.until(lambda: window.commands["model.recommend"].isEnabled())
    window.commands["model.recommend"].trigger()
    page = window.pages.currentWidget()
    assert isinstance(page, RecommendPage)
    return page


def to_models(page: RecommendPage, loop: Loop, purpose: str = "chat") -> list[Recommendation]:
    page.purpose.buttons[purpose].click()
    loop.until(lambda: page.models.cards)
    return [card.one for card in page.models.cards]


def offer(fake: FakeClient, one: Recommendation) -> None:
    fake.offered[one.offer.repository] = fake_repository(one.offer.repository)
    assert one.choice in {choice.name for choice in fake.offered[one.offer.repository].choices}


def first_gguf(page: RecommendPage) -> int:
    return next(i for i, card in enumerate(page.models.cards) if card.one.choice == "Q4_K_M")


def to_download(page: RecommendPage, fake: FakeClient, loop: Loop) -> Recommendation:
    """With the first model that comes as a Q4_K_M."""
    to_models(page, loop)
    number = first_gguf(page)
    one = page.models.cards[number].one
    offer(fake, one)
    page.models.cards[number].button.click()
    loop.until(lambda: page.arriving.card is not None)
    return one


def texts(widget: QWidget) -> str:
    return "\n".join(label.text() for label in widget.findChildren(QLabel) if label.isVisibleTo(widget))


def test_from_the_question_to_a_chat(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    assert list(page.purpose.buttons) == [purpose for purpose, _, _ in purposes()]
    assert window.focusWidget() is page.purpose.buttons["chat"]
    one = to_download(page, fake, loop)
    assert fake.called("start_download") == [NewDownload(repository=one.offer.repository, choice="Q4_K_M")]
    assert page.steps.current() == 2
    (download,) = fake.fetched
    fake.download_moved(download, 0.5)
    loop.until(lambda: page.arriving.card is not None and page.arriving.card.bar.value() == 500)

    fake.entries.append(ModelEntry(id="9" * 16, name="It", path=PATH, source="huggingface", bytes=1))
    fake.download_ended(download)
    loop.until(lambda: fake.called("load_model"))
    assert fake.called("load_model") == [LoadModel(path=PATH, kv="f16")]
    assert page.stack.current() is page.trial
    assert page.trial.bar.isVisible()
    assert not fake.called("try_model")
    fake.loading_ended(fake_loaded(fake.entries[-1]))
    loop.until(lambda: page.session.trial is not None)
    assert "It works." in texts(page.trial)
    assert "Friday, Saturday" in texts(page.trial)
    assert "12 tokens a second" in texts(page.trial)
    assert "Between 10 and 14 were expected" in texts(page.trial)
    assert page.trial.go.text() == "Start chatting"
    assert window.focusWidget() is page.trial.go
    page.trial.go.click()
    assert window.pages.currentWidget() is window.chat_screen
    assert not window.chat.open_id
    assert page.session.stage == "purpose"  # the next time it begins anew


def test_each_model_says_what_it_takes_what_it_gives_and_why(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    models = to_models(page, loop, "code")
    assert len(models) == 3
    assert fake.called("recommended") == ["code"]
    for card in page.models.cards:
        assert set(card.meters) == {"size", "memory", "speed", "quality"}
        assert all(meter.words() and 0 < meter.fraction() <= 1 for meter in card.meters.values())
        assert card.one.offer.licence in texts(card)
    assert page.models.cards[0].meters["quality"].fraction() == 1
    assert len({card.accessibleName() for card in page.models.cards}) == 3


def test_a_build_of_ones_own_leads_to_the_wizard(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.free_gb = 5
    page = opened(window, fake, loop)
    to_models(page, loop)
    answer = page.session.answer
    assert answer is not None
    assert answer.idea is not None
    assert page.models.idea is not None
    assert answer.idea.name in texts(page.models)
    page.models.idea.click()
    assert isinstance(window.pages.currentWidget(), WizardPage)


def test_no_model_fits(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    answer = fake_recommendations("chat", 5)
    answer.models, answer.idea = [], None
    page.models.show_answer(answer)
    assert "Close other programs" in page.models.state.text()
    assert page.models.cards == []


def test_every_screen_can_be_left_and_is_found_again(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    to_models(page, loop, "languages")
    page.models.back.click()
    assert page.stack.current() is page.purpose
    one = to_download(page, fake, loop)
    page.close_button.click()
    assert window.pages.currentWidget() is window.chat_screen
    window.commands["model.recommend"].trigger()
    assert window.pages.currentWidget() is page
    assert page.stack.current() is page.arriving
    assert page.arriving.name.text() == one.offer.name
    page.arriving.back.click()
    loop.until(lambda: page.models.cards)
    assert page.stack.current() is page.models
    assert fake.fetched  # the download goes on


def test_it_is_found_again_after_a_restart(loop: Loop, fake: FakeClient) -> None:
    kept: dict[str, object] = {}
    with shown_window(loop, 1180, 860, save=kept.update) as first:
        one = to_download(opened(first, fake, loop), fake, loop)
    fake.fetched[0].state, fake.fetched[0].job = "interrupted", None
    with shown_window(loop, 1180, 860, settings=kept) as second:
        page = opened(second, fake, loop)
        loop.until(lambda: page.arriving.card is not None)
        assert page.arriving.name.text() == one.offer.name
        assert page.arriving.card is not None
        page.arriving.card.go.click()
        loop.until(lambda: fake.called("resume_download"))


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"purpose": "cooking"}', '{"picked": 3}', "{}"])
def test_damaged_notes_of_it_harm_nothing(kept: str, loop: Loop, fake: FakeClient) -> None:
    with shown_window(loop, 1180, 860, settings={"recommending": kept}) as window:
        page = opened(window, fake, loop)
        assert page.stack.current() is page.purpose


def test_offline_it_says_so_and_can_be_tried_again(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    to_models(page, loop)
    number = first_gguf(page)
    offer(fake, page.models.cards[number].one)
    fake.failures["repository"] = OfflineError("Nutshell is offline.", remedy="Switch offline mode off.")
    page.models.cards[number].button.click()
    loop.until(lambda: page.notice.isVisible())
    assert "offline" in texts(page.notice)
    assert page.stack.current() is page.arriving
    assert page.arriving.again.isVisible()
    fake.failures.clear()
    page.arriving.again.click()
    loop.until(lambda: fake.called("start_download"))


def test_a_build_that_is_gone_is_said(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    to_models(page, loop)
    number = first_gguf(page)
    one = page.models.cards[number].one
    offer(fake, one)
    fake.offered[one.offer.repository].choices = []
    page.models.cards[number].button.click()
    loop.until(lambda: page.notice.isVisible())
    assert one.offer.repository in texts(page.notice)
    assert not fake.called("start_download")


def test_a_model_that_is_here_is_not_fetched_again(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    to_models(page, loop)
    number = first_gguf(page)
    here = fake_download("finished")
    here.repository = page.models.cards[number].one.offer.repository
    fake.fetched = [here]
    window.downloads.refresh()
    loop.until(lambda: window.downloads.downloads)
    page.models.cards[number].button.click()
    loop.until(lambda: page.stack.current() is page.trial)
    assert not fake.called("repository")
    assert not fake.called("start_download")


def test_a_load_that_fails_can_be_tried_again(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    to_download(page, fake, loop)
    fake.entries.append(ModelEntry(id="9" * 16, name="It", path=PATH, source="huggingface", bytes=1))
    fake.download_ended(fake.fetched[0])
    loop.until(lambda: fake.called("load_model"))
    fake.loading_ended(None, ErrorInfo(code="model_load", what="It is damaged."))
    loop.until(lambda: page.session.stopped)
    assert page.trial.go.text() == "Try again"
    assert "could not be tried" in texts(page.trial)
    page.trial.go.click()
    loop.until(lambda: len(fake.called("load_model")) == 2)
    fake.loading_ended(fake_loaded(fake.entries[-1]))
    loop.until(lambda: page.session.trial is not None)


def test_the_model_of_a_chat_is_not_taken_away_by_a_download(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    to_download(page, fake, loop)
    page.close_button.click()
    fake.download_ended(fake.fetched[0])
    loop.until(lambda: window.notice_bar.isVisible())
    assert not fake.called("load_model")
    assert window.notice_bar.action_button().text() == "Try it"
    window.notice_bar.action_button().click()
    assert window.pages.currentWidget() is page
    assert page.stack.current() is page.trial


def test_slower_than_expected_is_explained(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    from ui.recommend.words import trial_words

    slow = msgspec.structs.replace(fake.trial, tok_s=3.1)
    assert "slower" in trial_words(slow)
    assert "choose a lighter one" in trial_words(slow)
    assert "3.1 tokens a second" in trial_words(slow)
    assert "faster" in trial_words(msgspec.structs.replace(fake.trial, tok_s=31.0))
    assert "expected" not in trial_words(msgspec.structs.replace(fake.trial, expected=0.0))
    assert "before its speed" in trial_words(msgspec.structs.replace(fake.trial, tok_s=0.0))


def test_it_is_offered_where_a_beginner_looks(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.entries = [one for one in fake.entries if one.source == "builtin"]
    assert fake.entries
    window.link.attach(fake)
    empty = window.chat_screen.view.empty_state()
    assert empty.recommend.isHidden()
    loop.until(lambda: empty.recommend.isVisible())
    assert empty.compress.isHidden()
    QTest.mouseClick(empty.recommend, Qt.MouseButton.LeftButton)
    assert isinstance(window.pages.currentWidget(), RecommendPage)
    window.show_downloads()
    page = window.pages.currentWidget()
    assert page is not None
    page.recommend.click()  # type: ignore[attr-defined]
    assert isinstance(window.pages.currentWidget(), RecommendPage)
