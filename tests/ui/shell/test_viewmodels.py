from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from msgspec import structs
from PySide6.QtCore import QPersistentModelIndex, Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication

from backend.api.schemas import Conversation, ConversationDetail, Folder, Message, SearchHit, TurnDelta
from tests.fakes.client import fake_conversation, fake_loaded, fake_models
from ui.viewmodels import words
from ui.viewmodels.conversation_list import ConversationListModel, ConversationRole
from ui.viewmodels.conversation_state import ConversationState
from ui.viewmodels.model_list import ModelListModel, ModelRole

TODAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12).timestamp()
HOUR = 3600.0


def conversation(key: str, hours: float, title: str = "") -> Conversation:
    return Conversation(id=key, title=title or key.upper(), updated_at=NOON - hours * HOUR)


def rows(model: ConversationListModel | ModelListModel) -> list[str]:
    return [str(model.data(model.index(row))) for row in range(model.rowCount())]


@pytest.fixture
def listed(qapp: QApplication) -> ConversationListModel:
    model = ConversationListModel(today=lambda: TODAY)
    model.tester = QAbstractItemModelTester(  # type: ignore[attr-defined]
        model, QAbstractItemModelTester.FailureReportingMode.Fatal
    )
    model.set_conversations(
        [conversation("a", 1), conversation("b", 20), conversation("c", 60), conversation("d", 24 * 30)]
    )
    return model


def test_conversations_stand_under_dates_newest_first(listed: ConversationListModel) -> None:
    assert rows(listed) == ["Today", "A", "Yesterday", "B", "Previous 7 days", "C", "Older", "D"]
    assert listed.shown == 4
    heading = listed.index(0)
    assert listed.flags(heading) == Qt.ItemFlag.NoItemFlags
    assert listed.data(heading, ConversationRole.IS_HEADER) is True


def test_a_conversation_moves_up_and_the_selection_goes_with_it(listed: ConversationListModel) -> None:
    held = QPersistentModelIndex(listed.index_of("d"))
    listed.put(conversation("d", 0))
    assert rows(listed) == ["Today", "D", "A", "Yesterday", "B", "Previous 7 days", "C"]
    assert held.data(ConversationRole.ID) == "d"
    listed.put(conversation("e", -0.1))
    listed.remove("a")
    assert rows(listed)[:3] == ["Today", "E", "D"]
    assert held.row() == 2


def test_a_random_walk_of_changes_keeps_the_model_valid(listed: ConversationListModel) -> None:
    import random

    chance = random.Random(7)
    for step in range(400):
        key = chance.choice("abcdefghij")
        if chance.random() < 0.3:
            listed.remove(key)
        else:
            listed.put(conversation(key, chance.choice([0, 1, 20, 60, 800]) + step * 1e-4))
        if chance.random() < 0.2:
            listed.set_filter(chance.choice(["", "a", "b", "zz"]))
    listed.set_filter("")
    shown = [row for row in rows(listed) if len(row) == 1]
    assert len(shown) == len(listed) == listed.shown


def test_the_filter_looks_at_titles_and_takes_hits_in_messages(listed: ConversationListModel) -> None:
    listed.set_filter("b", [SearchHit(conversation_id="c", message_id="m", title="C", snippet="a \u2068b\u2069 c")])
    assert rows(listed) == ["Yesterday", "B", "Previous 7 days", "C"]
    assert listed.data(listed.index_of("c"), ConversationRole.SNIPPET) == "a \u2068b\u2069 c"
    assert listed.data(listed.index_of("b"), ConversationRole.SNIPPET) == ""
    listed.set_filter("nothing like it")
    assert listed.rowCount() == 0
    listed.set_filter("")
    assert listed.shown == 4


def test_renaming_in_place_asks_and_ignores_nothing_typed(listed: ConversationListModel) -> None:
    asked: list[tuple[str, str]] = []
    listed.rename_requested.connect(lambda key, title: asked.append((key, title)))
    index = listed.index_of("b")
    assert listed.setData(index, "  Two \n lines ")
    assert asked == [("b", "Two lines")]
    assert listed.data(index) == "Two lines"
    assert not listed.setData(index, "   ")
    assert not listed.setData(listed.index(0), "heading")
    assert len(asked) == 1


def test_the_trash_is_not_shown_and_neighbours_skip_headings(listed: ConversationListModel) -> None:
    assert listed.neighbour("a", 1) == "b"
    assert listed.neighbour("b", -1) == "a"
    assert listed.neighbour("a", -1) is None
    assert listed.neighbour("", 1) == "a"
    gone = conversation("b", 20)
    gone.deleted_at = NOON
    listed.put(gone)
    assert listed.neighbour("a", 1) == "c"
    assert "Yesterday" not in rows(listed)


def test_streaming_is_marked_and_said(listed: ConversationListModel) -> None:
    listed.set_streaming({"c"})
    index = listed.index_of("c")
    assert listed.data(index, ConversationRole.STREAMING) is True
    assert listed.data(index, Qt.ItemDataRole.AccessibleTextRole) == "C, answering"
    listed.set_streaming(set())
    assert listed.data(index, ConversationRole.STREAMING) is False


def test_models_are_grouped_by_source_and_damaged_ones_say_why(qapp: QApplication) -> None:
    model = ModelListModel()
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    model.set_models(reversed(fake_models()))
    model.set_loaded(fake_loaded())
    assert tester.model() is model
    assert rows(model) == [
        "Built in", "SmolLM2-135M-Instruct", "Hugging Face", "Qwen2.5-Coder-1.5B-Instruct", "LM Studio",
        "Llama-3.1-8B-Instruct", "mistral-nemo-half-copied", "Ollama", "gemma-2-2b-it",
    ]  # fmt: skip
    damaged = model.index(model.row_of("d" * 16))
    assert model.flags(damaged) == Qt.ItemFlag.NoItemFlags
    assert model.data(damaged, ModelRole.DETAILS) == "The file is cut off: 310 MB of 7.1 GB are there."
    first = model.index(1)
    assert model.data(first, ModelRole.LOADED) is True
    assert model.data(first, ModelRole.DETAILS) == "98 MB · 135M parameters · 4-bit (Q4_1)"


# The tree of a conversation


def message(key: str, parent: str | None, content: str = "", status: str = "complete") -> Message:
    role = "user" if key.startswith("u") else "assistant"
    return Message(id=key, conversation_id="c", parent_id=parent, role=role, content=content, status=status)  # type: ignore[arg-type]


@pytest.fixture
def tree() -> ConversationState:
    #      u1 -- a1 -- u2 -- a2
    #       \          `---- a3
    #        a4 -- u5
    return ConversationState(
        Conversation(id="c", head_id="a3"),
        [message("u1", None), message("a1", "u1"), message("u2", "a1"), message("a2", "u2"), message("a3", "u2"),
         message("a4", "u1"), message("u5", "a4")],
    )  # fmt: skip


def keys(state: ConversationState) -> list[str]:
    return [one.id for one in state.branch()]


def test_the_branch_runs_from_root_to_head_and_counts_siblings(tree: ConversationState) -> None:
    assert keys(tree) == ["u1", "a1", "u2", "a3"]
    assert tree.siblings() == {"u1": (0, 1), "a1": (0, 2), "u2": (0, 1), "a3": (1, 2)}


def test_stepping_to_another_version_shows_its_newest_leaf(tree: ConversationState) -> None:
    assert tree.sibling_leaf("a1", 1) == "u5"
    assert tree.sibling_leaf("a1", -1) is None
    assert tree.sibling_leaf("a3", -1) == "a2"
    assert tree.sibling_leaf("nobody", 1) is None
    tree.show("u5")
    assert keys(tree) == ["u1", "a4", "u5"]
    assert tree.sibling_leaf("a4", -1) == "a3"


def test_damaged_trees_do_not_hang() -> None:
    loop = ConversationState(Conversation(id="c", head_id="u1"), [message("u1", "a1"), message("a1", "u1")])
    assert set(keys(loop)) == {"u1", "a1"}
    orphan = ConversationState(Conversation(id="c", head_id="a1"), [message("a1", "nobody")])
    assert keys(orphan) == ["a1"]
    unknown_head = ConversationState(Conversation(id="c", head_id="gone"), [message("u1", None)])
    assert keys(unknown_head) == ["u1"]
    assert keys(ConversationState(Conversation(id="c"))) == []


def delta(offset: int, text: str) -> TurnDelta:
    return TurnDelta(conversation_id="c", message_id="a1", offset=offset, text=text, tokens=1, tok_s=1.0)


def test_streamed_text_is_mended_by_its_offset() -> None:
    state = ConversationState(
        Conversation(id="c", head_id="a1"), [message("u1", None), message("a1", "u1", status="streaming")]
    )
    assert state.extend(delta(0, "Hello"))
    assert state.extend(delta(3, "lo world"))
    assert state.get("a1") is not None
    assert state.branch()[-1].content == "Hello world"
    assert not state.extend(delta(20, "lost"))
    assert state.branch()[-1].content == "Hello world"


def test_what_was_shown_is_kept_when_the_store_has_less() -> None:
    state = ConversationState(
        Conversation(id="c", head_id="a1"), [message("u1", None), message("a1", "u1", status="streaming")]
    )
    state.extend(delta(0, "What the person has read"))
    assert [one.id for one in state.interrupt()] == ["a1"]
    stored = [message("u1", None), message("a1", "u1", "What the per", "interrupted")]
    state.refresh(ConversationDetail(conversation=Conversation(id="c", head_id="a1"), messages=stored))
    assert state.branch()[-1].content == "What the person has read"
    finished = [message("u1", None), message("a1", "u1", "Short.")]
    state.refresh(ConversationDetail(conversation=Conversation(id="c", head_id="a1"), messages=finished))
    assert state.branch()[-1].content == "Short."


# Words


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 KB"), (98_000_000, "98 MB"), (999_600, "1 MB"),
     (1_120_000_000, "1.12 GB"), (4_920_000_000, "4.92 GB"), (16_000_000_000, "16 GB"), (23_400_000_000, "23.4 GB"),
     (256_000_000_000, "256 GB"), (2_000_000_000_000, "2 TB")],
)  # fmt: skip
def test_sizes(number: int, text: str) -> None:
    assert words.size(number) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("Q4_K_M", "4-bit (Q4_K_M)"), ("IQ2_XS", "2-bit (IQ2_XS)"), ("UD-Q5_K_XL", "5-bit (UD-Q5_K_XL)"),
     ("F16", "16-bit, uncompressed (F16)"), ("BF16", "16-bit, uncompressed (BF16)"), ("MXFP4", "4-bit (MXFP4)"),
     ("", ""), ("odd", "odd")],
)  # fmt: skip
def test_quantization_has_its_plain_word_first(name: str, text: str) -> None:
    assert words.quantization_words(name) == text


def test_a_title_is_the_first_words_of_the_message() -> None:
    assert words.title_from("  How do I\nmerge two lists?  ") == "How do I merge two lists?"
    long = "Explain in simple words how a refrigerator moves heat from the inside to the outside"
    assert words.title_from(long) == "Explain in simple words how a refrigerator…"
    assert words.title_from("x" * 100) == "x" * words.TITLE_LENGTH + "…"
    assert words.title_from("## Heading") == "Heading"
    assert words.title_from("   ") == ""


def test_dates_fall_under_their_headings() -> None:
    def of(days: int) -> str:
        return words.date_group((datetime(2026, 11, 22, 12) - timedelta(days=days)).timestamp(), TODAY)

    assert [of(days) for days in (-1, 0, 1, 2, 7, 8, 900)] == [
        "Today", "Today", "Yesterday", "Previous 7 days", "Previous 7 days", "Older", "Older",
    ]  # fmt: skip


def test_a_fake_conversation_is_a_chain() -> None:
    detail = fake_conversation("t", [("q", "a"), ("q", "a")])
    assert len(ConversationState(detail.conversation, detail.messages).branch()) == 4


def test_pinned_ones_folders_and_dates_stand_in_this_order(listed: ConversationListModel) -> None:
    listed.set_folders([Folder(id="2", name="Work"), Folder(id="1", name="garden"), Folder(id="3", name="Zoo")])
    for key, change in (("d", {"pinned": True}), ("b", {"folder_id": "1"}), ("c", {"folder_id": "gone"})):
        known = listed.get(key)
        assert known is not None
        listed.put(structs.replace(known, **change))
    shown = rows(listed)
    assert shown[:6] == ["Pinned", "D", "garden", "B", "Work", "Zoo"]
    assert "C" in shown[6:]
    listed.toggle_folder("1")
    assert "B" not in rows(listed)
    listed.set_filter("b")
    assert rows(listed) == ["garden", "B"]  # a search looks into closed folders
    listed.set_filter("")
    heading = listed.index(2)
    assert listed.data(heading, ConversationRole.FOLDER) == "1"
    asked: list[tuple[str, str]] = []
    listed.folder_rename_requested.connect(lambda key, name: asked.append((key, name)))
    assert listed.setData(heading, " Garden  path ")
    assert asked == [("1", "Garden path")]


def test_the_archive_and_the_trash_are_places_of_their_own(listed: ConversationListModel) -> None:
    known = listed.get("b")
    assert known is not None
    listed.put(structs.replace(known, archived=True))
    assert "B" not in rows(listed)
    listed.set_filter("b")
    assert rows(listed) == ["Archive", "B"]
    listed.set_filter("")
    listed.set_place("archive")
    assert rows(listed)[1:] == ["B"]
    listed.set_place("trash")
    assert listed.rowCount() == 0
    gone = listed.get("c")
    assert gone is not None
    listed.put(structs.replace(gone, deleted_at=NOON))
    assert rows(listed) == ["Today", "C"]
    listed.put(gone)
    assert listed.rowCount() == 0
    listed.set_place("chats")
    assert "C" in rows(listed)
