import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.api.schemas import ConversationUpdate, NewConversation
from backend.storage.search import MARK_END, MARK_START, parse
from backend.storage.store import Store


@pytest.fixture
def library(store):
    texts = {
        "Cooking": ["How do I cook aubergines?", "Roast them with garlic; a crème fraîche helps."],
        "Statistics": ["Explain naïve Bayes in C++", "The classifier multiplies likelihoods -> posterior."],
        "语言": ["怎么学中文搜索？", "多读书。"],
    }
    for title, messages in texts.items():
        conversation = store.create_conversation(NewConversation(title=title))
        parent = None
        for text in messages:
            parent = store.add_message(conversation.id, parent, "user", text).id
    return store


@pytest.mark.parametrize(
    ("query", "snippets"),
    [
        ("aubergines", ["How do I cook ⁨aubergines⁩?"]),
        ("AUBERG", ["How do I cook ⁨aubergines⁩?"]),
        ("cook", ["⁨Cooking⁩", "How do I ⁨cook⁩ aubergines?"]),
        ("creme", ["Roast them with garlic; a ⁨crème⁩ fraîche helps."]),
        ("garlic creme", ["Roast them with ⁨garlic⁩; a ⁨crème⁩ fraîche helps."]),
        ("creme aubergines", []),
        ('"naive bayes"', ["Explain ⁨naïve Bayes⁩ in C++"]),
        ('"bayes naive"', []),
        ('"naive bay"', []),
        ("C++", ["Explain naïve Bayes in ⁨C⁩++"]),
        ("->", ["The classifier multiplies likelihoods ⁨->⁩ posterior."]),
        ("中文", ["怎么学⁨中文⁩搜索？"]),
        ("语", ["⁨语⁩言"]),
        ("likelihoods ->", ["The classifier multiplies ⁨likelihoods⁩ -> posterior."]),
        ("naïve, bayes!", ["Explain ⁨naïve⁩ ⁨Bayes⁩ in C++"]),
        ("nothing like it", []),
        ("", []),
        ("   ", []),
        ('"', []),
        ('""', []),
    ],
)
def test_queries_find_what_a_person_means(library, query, snippets):
    assert [hit.snippet for hit in library.search(query)] == snippets


def test_a_hit_names_conversation_and_message(library):
    (hit,) = library.search("aubergines")
    message = library.message(hit.message_id)
    assert message.conversation_id == hit.conversation_id
    assert hit.title == "Cooking"
    title = library.search("Cooking")[0]
    assert title.message_id is None


def test_the_newest_come_first_up_to_the_limit(store, conversation):
    ids = [store.add_message(conversation.id, None, "user", f"apple {n}").id for n in range(60)]
    assert [hit.message_id for hit in store.search("apple")] == ids[:9:-1]
    assert len(store.search("apple", limit=3)) == 3
    assert store.search("apple", limit=0) == []


def test_the_index_follows_titles_and_finished_answers(store, conversation):
    store.update_conversation(conversation.id, ConversationUpdate(title="Walnuts"))
    assert store.search("First") == []
    assert [hit.snippet for hit in store.search("walnut")] == ["⁨Walnuts⁩"]
    with store._db.reading() as connection:
        for table in ("message_search", "title_search"):
            connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")


def test_a_long_text_is_cut_around_the_match(store, conversation):
    store.add_message(conversation.id, None, "user", "before " * 500 + "needle" + " after" * 500)
    store.add_message(conversation.id, None, "user", "前" * 500 + "针" + "后" * 500)
    for query in ("needle", "针"):
        (hit,) = store.search(query)
        assert f"{MARK_START}{query}{MARK_END}" in hit.snippet
        assert len(hit.snippet) < 300
        assert hit.snippet.startswith("…")
        assert hit.snippet.endswith("…")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("search") / "nutshell.db") as store:
        conversation = store.create_conversation(NewConversation(title="a b c"))
        store.add_message(conversation.id, None, "user", "NEAR AND OR NOT * ( ) : ^ {x} a-b +c 中 \N{SNOWMAN}")
        yield store


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text("abNEARORNOT\"*():^{}+-~,.<>%_\\'; 中\0☃", max_size=30)))
def test_no_query_is_an_error(shared, query):
    for hit in shared.search(query):
        assert MARK_START in hit.snippet


@pytest.mark.parametrize(
    "query",
    [
        *('"', "AND", "a AND", "NEAR(", "col:x", "content:x", "-a", "^a", "a*b", "{", "((("),
        *("'; DROP TABLE messages; --", "\ud800", "\0", "a\0b", '"a" "b'),
        *("a" * 100_000, "a " * 5000, "* " * 5000, "中" * 1000),
    ],
)
def test_awkward_queries_are_only_text(shared, query):
    shared.search(query)


def test_the_language_of_the_index_is_out_of_reach():
    assert parse('a" OR "b').match == '"a" "OR" "b"*'
    assert parse("content:x NOT y").match == '"content:x" "NOT" "y"*'


def test_a_damaged_index_is_built_again(store, conversation):
    message = store.add_message(conversation.id, None, "user", "find me later")
    with store._db.reading() as connection:
        # 1 and 10 are the index's own bookkeeping, the rest its pages of words
        connection.execute("UPDATE message_search_data SET block = x'00112233' WHERE id > 10")
    with sqlite3.connect(store.path) as other, pytest.raises(sqlite3.DatabaseError):
        other.execute("SELECT * FROM message_search WHERE message_search MATCH 'later'").fetchall()
    other.close()
    assert [hit.message_id for hit in store.search("later")] == [message.id]
    assert store.notices == []
    store.add_message(conversation.id, None, "user", "still writable")
    assert len(store.search("still")) == 1


@pytest.mark.parametrize("literal", ["%->%", "_->", "\\->", "%%", "~~", "\\\\", "日_本", "->" * 600])
def test_signs_of_patterns_are_only_signs(store, literal):
    made = store.create_conversation(NewConversation(title="t"))
    wanted = store.add_message(made.id, None, "user", f"before {literal} after")
    store.add_message(made.id, None, "user", "before 100x aXb- > C:/x 日x本 after")
    assert [hit.message_id for hit in store.search(literal)] == [wanted.id]


# Signatures

SIGNS = "->~+#!(){}*漢字日本かなไทย😀‖"


def letter_by_letter(store: Store, text: str) -> list[str]:
    with store._db.reading() as connection:
        rows = connection.execute(
            "SELECT m.id FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE c.deleted_at IS NULL"
            " AND m.content LIKE ? ESCAPE '~' ORDER BY m.num DESC",
            ("%" + "".join("~" + sign if sign in "%_~" else sign for sign in text) + "%",),
        ).fetchall()
    return [row[0] for row in rows]


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="aBc 1\n" + SIGNS, max_size=40), min_size=1, max_size=12),
    query=st.text(alphabet="aBc1" + SIGNS, min_size=1, max_size=4),
    drawn=st.booleans(),
)
def test_signatures_hide_nothing_and_add_nothing(tmp_path_factory, texts, query, drawn):
    path = tmp_path_factory.mktemp("signs") / "nutshell.db"
    with Store.open(path) as store:
        conversation = store.create_conversation(NewConversation(title="t"))
        ids = [store.add_message(conversation.id, None, "user", text).id for text in texts[:-1]]
        if drawn:
            store.draw_signatures()
        ids.append(store.add_message(conversation.id, None, "user", texts[-1]).id)  # this one is not drawn yet
        parsed = parse(query)
        if parsed.literal == (query,) and not parsed.match:
            assert [hit.message_id for hit in store.search(query) if hit.message_id] == letter_by_letter(store, query)


def test_signatures_follow_changed_and_removed_messages(store):
    conversation = store.create_conversation(NewConversation(title="t"))
    asked = store.add_message(conversation.id, None, "user", "a -> b")
    answer = store.add_message(conversation.id, asked.id, "assistant", "", status="streaming")
    store.draw_signatures()
    assert [hit.message_id for hit in store.search("->")] == [asked.id]
    store.append_text(answer.id, "b => c")
    store.finish_message(answer.id, status="complete")
    for _ in range(2):  # before and after its signature is drawn
        assert [hit.message_id for hit in store.search("=>")] == [answer.id]
        store.draw_signatures()
    store.delete_conversation(conversation.id)
    store.purge_deleted(4e9)
    with store._db.reading() as connection:
        for table in ("signs", "todo"):
            assert connection.execute(f"SELECT count(*) FROM message_search_{table}").fetchone()[0] == 0


def test_signatures_are_drawn_by_searching_and_end_with_the_store(path):
    with Store.open(path) as store:
        conversation = store.create_conversation(NewConversation(title="t"))
        for number in range(120):
            store.add_message(conversation.id, None, "user", f"number {number} 日本")
        assert len(store.search("日本", limit=200)) == 120
        store._drawing.join()
        with store._db.reading() as connection:
            assert connection.execute("SELECT count(*) FROM message_search_signs").fetchone()[0] == 120
        assert len(store.search("日本", limit=200)) == 120
        store.add_message(conversation.id, None, "user", "日本 again")
        store.search("日本")
    assert not store._drawing.is_alive()
