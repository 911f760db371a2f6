"""Conversations out and in again, and files of other programs, whole and damaged."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest

from backend.api.errors import InvalidRequestError
from backend.api.schemas import ConversationDetail, ConversationUpdate, NewConversation, Sampling, TurnStats
from backend.chat.exchange.readers import read_file
from backend.chat.exchange.writers import branch_of, to_html, to_json, to_markdown
from backend.storage.store import Store


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "store" / "nutshell.db") as made:
        yield made


def filled(store: Store) -> ConversationDetail:
    """Two turns; the first question has two answers, of which the first is shown."""
    made = store.create_conversation(NewConversation(title="Trip & more", system_prompt="Be brief."))
    store.update_conversation(made.id, ConversationUpdate(sampling=Sampling(temperature=0.3), pinned=True))
    question = store.add_message(made.id, None, "user", "Where <b>to</b>?\n\nAnd why?")
    first = store.add_message(made.id, question.id, "assistant", "", status="streaming", model="m1")
    store.append_text(first.id, "<think>hm</think>\n\nTo the **coast**: `x < y` ![p](http://evil.example/p.png)")
    store.finish_message(first.id, status="complete", stats=TurnStats(completion_tokens=9, seed=3))
    store.add_message(made.id, question.id, "assistant", "To the hills.")
    again = store.add_message(made.id, first.id, "user", "日本 \U0001f600")
    store.add_message(made.id, again.id, "assistant", "| a | b |\n|---|---|\n| 1 | 2 |")
    return store.detail(made.id)


def shape(detail: ConversationDetail) -> list[tuple[object, ...]]:
    """The tree with everything that is not an id."""
    place = {one.id: number for number, one in enumerate(detail.messages)}
    return [
        (place.get(one.parent_id or ""), one.role, one.content, one.created_at, one.model, one.stats)
        for one in detail.messages
    ]


def test_our_json_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    before = filled(store)
    path = tmp_path / "trip.json"
    path.write_text(to_json(before), encoding="utf-8")
    (found,) = read_file(path)
    after = store.detail(store.import_conversation(found).id)
    assert shape(after) == shape(before)
    assert [one.content for one in branch_of(after)] == [one.content for one in branch_of(before)]
    for name in (
        "title",
        "system_prompt",
        "sampling",
        "context_policy",
        "pinned",
        "archived",
        "created_at",
        "updated_at",
    ):
        assert getattr(after.conversation, name) == getattr(before.conversation, name), name
    assert after.conversation.id != before.conversation.id
    assert len(store.search("coast")) == 2


def test_markdown_has_the_shown_branch_as_it_was_written(store: Store) -> None:
    text = to_markdown(filled(store))
    assert text.startswith("# Trip & more\n\n> Be brief.\n\n## You\n\nWhere <b>to</b>?")
    assert "To the **coast**" in text
    assert "hills" not in text
    assert text.count("## Nutshell") == 2


def test_html_asks_nobody_for_anything(store: Store) -> None:
    text = to_html(filled(store))
    assert "<title>Trip &amp; more</title>" in text
    assert "Where &lt;b&gt;to&lt;/b&gt;?" in text
    assert "<strong>coast</strong>" in text
    assert "<table>" in text
    assert "<summary>Thoughts</summary>" in text
    assert "<img" not in text
    assert "[p: http://evil.example/p.png]" in text
    for word in ("<script", "<link", "url(", "@import", " src="):
        assert word not in text


def chatgpt() -> list[dict[str, object]]:
    def node(key: str, parent: str | None, children: list[str], role: str = "", text: str = "", **more: object):
        message = {
            "author": {"role": role}, "create_time": 1_700_000_000.5, "recipient": "all",
            "content": {"content_type": "text", "parts": [text]}, "metadata": {"model_slug": "gpt-x"}, **more,
        }  # fmt: skip
        return {"id": key, "parent": parent, "children": children, "message": message if role else None}

    mapping = {
        "root": node("root", None, ["s"]),
        "s": node("s", "root", ["q"], "system", ""),
        "q": node("q", "s", ["a1", "a2"], "user", "Why?"),
        "a1": node("a1", "q", [], "assistant", "Because."),
        "a2": node("a2", "q", ["t"], "assistant", "search('x')", recipient="browser"),
        "t": node("t", "a2", ["a3"], "tool", "found"),
        "a3": node("a3", "t", [], "assistant", "So it is."),
    }
    return [{"title": "Reasons", "create_time": 1_700_000_000.0, "mapping": mapping, "current_node": "a3"}]


def test_a_chatgpt_export_with_branches(tmp_path: Path) -> None:
    plain, packed = tmp_path / "conversations.json", tmp_path / "export.zip"
    plain.write_text(json.dumps(chatgpt()))
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(plain, "conversations.json")
        archive.writestr("chat.html", "x")
    for path in (plain, packed):
        (found,) = read_file(path)
        assert found.title == "Reasons"
        assert [(one.role, one.content, one.parent) for one in found.messages] == [
            ("user", "Why?", -1), ("assistant", "Because.", 0), ("assistant", "So it is.", 0),
        ]  # fmt: skip
        assert found.head == 2
        assert found.messages[1].model == "gpt-x"


def test_a_very_deep_chatgpt_conversation(tmp_path: Path, store: Store) -> None:
    mapping: dict[str, object] = {}
    for number in range(5000):
        mapping[str(number)] = {
            "parent": str(number - 1) if number else None, "children": [str(number + 1)],
            "message": {"author": {"role": "user" if number % 2 == 0 else "assistant"},
                        "content": {"parts": [f"n{number}"]}},
        }  # fmt: skip
    path = tmp_path / "c.json"
    path.write_text(json.dumps([{"title": "deep", "mapping": mapping, "current_node": "4999"}]))
    (found,) = read_file(path)
    made = store.import_conversation(found)
    assert len(store.branch(made.head_id or "")) == 5000


def test_a_conversation_of_lm_studio(tmp_path: Path) -> None:
    path = tmp_path / "1.conversation.json"
    step = {"type": "contentBlock", "content": [{"type": "text", "text": "Hello."}]}
    thought = {"type": "contentBlock", "style": {"type": "thinking"}, "content": [{"type": "text", "text": "hm"}]}
    other = {"type": "multiStep", "role": "assistant", "steps": [{"content": [{"type": "text", "text": "Hi."}]}]}
    messages = [
        {"versions": [{"type": "singleStep", "role": "user", "content": [{"type": "text", "text": "Hey"}]}]},
        {
            "versions": [
                {"role": "assistant", "senderInfo": {"senderName": "qwen"}, "steps": [thought, step]}, other,
            ],
            "currentlySelected": 0,
        },
        {"versions": [{"role": "user", "content": [{"type": "text", "text": "More"}]}], "currentlySelected": 0},
    ]  # fmt: skip
    path.write_text(json.dumps({"name": "Greeting", "createdAt": 1_700_000_000_000, "messages": messages}))
    (found,) = read_file(path)
    assert (found.title, found.created_at) == ("Greeting", 1_700_000_000.0)
    assert [(one.role, one.content, one.parent) for one in found.messages] == [
        ("user", "Hey", -1), ("assistant", "<think>\nhm\n</think>\n\nHello.", 0), ("assistant", "Hi.", 0),
        ("user", "More", 1),
    ]  # fmt: skip
    assert found.messages[1].model == "qwen"
    assert found.head == 3


def test_messages_of_jan(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    (tmp_path / "thread.json").write_text(json.dumps({"title": "Plans", "created": 1_700_000_000}))
    lines = [
        json.dumps({"role": role, "content": [{"type": "text", "text": {"value": text}}], "created_at": 1.7e12})
        for role, text in (("user", "One"), ("assistant", "Two"))
    ]
    path.write_text("\n".join([*lines, '{"role": "user", "cont']))
    (found,) = read_file(path)
    assert found.title == "Plans"
    assert [(one.content, one.parent, one.created_at) for one in found.messages] == [
        ("One", -1, 1.7e9),
        ("Two", 0, 1.7e9),
    ]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"[1, 2]", b'{"messages": 3}', b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_no_conversation_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError):
        read_file(path)
    with pytest.raises(InvalidRequestError):
        read_file(tmp_path / "missing.json")


def test_damaged_values_cost_themselves_only(tmp_path: Path, store: Store) -> None:
    draw = random.Random(5)
    whole = chatgpt()

    def spoil(value: object, depth: int = 0) -> object:
        if depth > 1 and draw.random() < 0.15:
            return draw.choice([None, 3, "x", [], {}, True, -1e300, ["q", 5, None]])
        if isinstance(value, dict):
            return {key: spoil(one, depth + 1) for key, one in value.items()}
        return [spoil(one, depth + 1) for one in value] if isinstance(value, list) else value

    path = tmp_path / "c.json"
    for _ in range(300):
        path.write_text(json.dumps(spoil(whole)))
        try:
            found = read_file(path)
        except InvalidRequestError:
            continue
        for one in found:
            store.import_conversation(one)
