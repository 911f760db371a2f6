"""Guessing ahead in the window: the switch, who guesses, the live line and the plots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import structs
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from backend.api.schemas import LoadedModel, SpeculationChoice
from backend.api.speculation_schemas import DraftSuggestion, PassReport, Speculate
from tests.fakes.client import FakeClient, fake_loaded
from tests.ui.shell.support import Loop, shown_window
from ui.inspector.pass_plots import CostPlot, PassPlot
from ui.inspector.speedup import SpeedupPanel
from ui.main_window import MainWindow
from ui.theme import apply_theme


@pytest.fixture
def saved() -> dict[str, object]:
    return {}


@pytest.fixture
def window(loop: Loop, saved: dict[str, object], qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    with shown_window(loop, 1180, 1200, save=saved.update) as made:
        yield made
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


def guessing(speculation: SpeculationChoice, nodes: int = 0) -> LoadedModel:
    return structs.replace(fake_loaded(), speculation=speculation, draft_nodes=nodes)


def attach(loop: Loop, window: MainWindow, fake: FakeClient, loaded: LoadedModel) -> SpeedupPanel:
    fake.loaded = loaded
    window.link.attach(fake)
    loop.until(lambda: fake.following.is_set() and window.models.loaded is not None)
    return window.inspector.speedup


def test_a_model_that_cannot_guess_has_no_switch(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    panel = attach(loop, window, fake, fake_loaded())
    assert not panel.isVisible()
    fake.publish_model(guessing("off"))
    loop.until(panel.isVisible)
    assert panel.choices.checkedId() == 1
    assert not panel.by_hand.isVisible()


def test_a_choice_goes_to_the_engine_and_is_kept(
    loop: Loop, window: MainWindow, fake: FakeClient, saved: dict[str, object]
) -> None:
    fake.draft_suggestions = [
        DraftSuggestion(path="small.gguf", name="Small", bytes=1 << 20),
        DraftSuggestion(path="other.gguf", name="Other", bytes=1 << 20, reason="Another vocabulary."),
    ]
    panel = attach(loop, window, fake, guessing("auto"))
    assert not fake.called("speculate"), "showing what is set is no choice"
    panel.choices.button(2).click()
    loop.until(lambda: panel.by_hand.isVisible() and panel.draft.count() == 3)
    assert fake.called("speculate") == [Speculate(speculation="custom", draft_nodes=8, draft_model="")]
    panel.nodes.setValue(12)
    loop.until(lambda: len(fake.called("speculate")) == 2)
    assert panel.nodes.value() == 12
    refused = panel.draft.findData("other.gguf")
    assert not panel.draft.model().index(refused, 0).flags() & Qt.ItemFlag.ItemIsEnabled
    assert panel.draft.itemData(refused, Qt.ItemDataRole.ToolTipRole) == "Another vocabulary."
    at = panel.draft.findData("small.gguf")
    panel.draft.setCurrentIndex(at)
    panel.draft.activated.emit(at)
    loop.until(lambda: saved.get("draft_model") == "small.gguf")
    assert fake.called("speculate")[-1] == Speculate(
        speculation="custom", draft_nodes=12, draft_model="small.gguf"
    )  # fmt: skip
    assert (saved["speculation"], saved["draft_nodes"]) == ("custom", 12)
    panel.choices.button(1).click()
    loop.until(lambda: saved.get("speculation") == "off")
    assert not panel.by_hand.isVisible()


def test_why_a_draft_model_cannot_be_used_is_told(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    notice = "small.gguf cannot draft for this model. Its vocabulary has 900 tokens."
    panel = attach(loop, window, fake, structs.replace(guessing("custom", 5), draft_notice=notice))
    assert panel.note.isVisible()
    assert panel.note.text() == notice
    assert panel.nodes.value() == 5


def test_what_guessing_brings_stands_under_the_answer_while_it_comes(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    panel = attach(loop, window, fake, guessing("auto"))
    window.chat.send("Hello")
    loop.until(lambda: window.chat.streaming_id)
    answer = window.chat.streaming_id or ""
    fake.say(answer, "plain ")
    loop.until(lambda: "plain" in window.chat.branch()[-1].content)
    assert not panel.live.isVisible()
    fake.say(answer, "fast", passes=10, drafted=20, accepted=15, speedup=1.84)
    loop.until(panel.live.isVisible)
    assert panel.live.text() == "2.5 tokens a pass · 75 % of guesses right · 1.8 × plain"
    assert not panel.choices.button(0).isEnabled(), "not while an answer is written"


def test_the_plots_are_there_when_there_is_something_to_plot(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    panel = attach(loop, window, fake, guessing("auto"))
    panel.fold.button.click()
    assert isinstance(panel.costs, CostPlot)
    assert isinstance(panel.passes, PassPlot)
    loop.until(lambda: fake.called("passes") is not None)
    assert not panel.costs.isVisible()
    assert not panel.passes.isVisible()
    panel.set_report(PassReport(curve=[(1, 0.04), (2, 0.05), (8, 0.1)], passes=[(8, 3, 0.1), (1, 1, 0.04)]))
    assert panel.costs.accessibleDescription() == "A pass over 8 tokens takes 2.5 times as long as one."
    assert panel.passes.accessibleDescription() == "2 passes tried 9 tokens; 4 of them came out."
    panel.passes.set_passes([(8, 3, 0.1)] * 5000)
    assert len(panel.passes._folded(70)) <= 70
    panel.grab()


def test_a_model_that_is_read_from_the_disk_says_so_beside_its_memory(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    whole = structs.replace(guessing("auto"), weight_bytes=700_000_000, kv_bytes=100_000_000)
    attach(loop, window, fake, whole)
    words = window.inspector.memory_parts
    loop.until(lambda: words.text() == "Model 700 MB, conversation memory 100 MB")
    fake.publish_model(structs.replace(whole, streamed_bytes=500_000_000))
    loop.until(lambda: words.text().startswith("Model 200 MB, conversation memory 100 MB · 500 MB of the model are"))
    assert window.inspector.memory.words().startswith("300 MB")
