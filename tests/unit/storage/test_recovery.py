"""Damage of every kind to a real file: it is set aside, what is readable is saved, and the user is told."""

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.api.errors import DatabaseDamagedError
from backend.api.schemas import NewConversation
from backend.storage import recovery, wal
from backend.storage.database import PAGE_SIZE, check_request
from backend.storage.pages import DamagedPageError, Pages
from backend.storage.store import Store

CONVERSATIONS, TURNS = 30, 12


def text_of(conversation: int, turn: int) -> str:
    # every seventh is long enough for overflow pages
    return f"conversation {conversation} turn {turn} " + "lorem ipsum " * (900 if turn % 7 == 3 else 20)


@pytest.fixture
def filled(path) -> Path:
    """A cleanly closed database of about 1.5 MB."""
    with Store.open(path) as store:
        folder = store.create_folder("Work")
        preset = store.create_preset("Cook", "You cook.")
        for number in range(CONVERSATIONS):
            made = store.create_conversation(
                NewConversation(title=f"title {number}", folder_id=folder.id, preset_id=preset.id)
            )
            parent = None
            for turn in range(TURNS):
                role = "assistant" if turn % 2 else "user"
                parent = store.add_message(made.id, parent, role, text_of(number, turn)).id
            store.add_attachment(parent, "data.bin", "application/octet-stream", bytes([number]) * 9000, text="numbers")
    assert not path.with_name("nutshell.db-wal").exists()
    return path


def everything(store: Store) -> dict[str, list[str]]:
    return {c.title: [m.content for m in store.detail(c.id).messages] for c in store.conversations()}


def intact(store: Store) -> int:
    """Checks all that was recovered against what was written; gives the number of messages."""
    count = 0
    for conversation in store.conversations():
        detail = store.detail(conversation.id)
        seen = set()
        for message in detail.messages:
            found = re.match(r"conversation (\d+) turn (\d+) ", message.content)
            assert found
            whole = text_of(int(found[1]), int(found[2]))
            assert whole.startswith(message.content.rstrip()) or message.content == whole
            assert message.parent_id is None or message.parent_id in seen
            seen.add(message.id)
            count += 1
        if detail.messages:
            assert store.branch(conversation.head_id)[-1].id == conversation.head_id
    with store._db.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 1)")
    return count


def aside(path: Path, store: Store) -> Path:
    (found,) = path.parent.glob("nutshell.damaged-*.db")
    (notice,) = store.notices
    assert found.name in notice
    assert re.fullmatch(r"nutshell\.damaged-\d{4}-\d\d-\d\d(-\d+)?\.db", found.name)
    return found


def root_of(path: Path, name: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]


def overwrite(path: Path, page: int, data: bytes, offset: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE_SIZE + offset)
        file.write(data)


def leaves(path: Path, table: str) -> list[int]:
    with Pages(path, PAGE_SIZE, {}) as pages:
        return pages.walk(root_of(path, table)).leaves


def truncate(part: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        os.truncate(path, int(path.stat().st_size * part))

    return damage


def garbage_header(path: Path) -> None:
    overwrite(path, 1, b"\xde\xad\xbe\xef" * 25)


def garbage_first_page(path: Path) -> None:
    overwrite(path, 1, b"\xa5" * PAGE_SIZE)


def zero_message_pages(path: Path) -> None:
    for page in leaves(path, "messages")[5:8]:
        overwrite(path, page, bytes(PAGE_SIZE))


def garbage_in_message_pages(path: Path) -> None:
    for page in leaves(path, "messages")[5:8]:
        overwrite(path, page, b"\x5a\x00\xff" * 500, offset=8)


def zero_message_root(path: Path) -> None:
    overwrite(path, root_of(path, "messages"), bytes(PAGE_SIZE))


def zero_conversation_root(path: Path) -> None:
    overwrite(path, root_of(path, "conversations"), bytes(PAGE_SIZE))


def zero_every_tenth_page(path: Path) -> None:
    for page in range(10, path.stat().st_size // PAGE_SIZE, 10):
        overwrite(path, page, bytes(PAGE_SIZE))


def zero_an_index(path: Path) -> None:
    overwrite(path, root_of(path, "messages_by_conversation"), bytes(PAGE_SIZE))


ALL = CONVERSATIONS * TURNS


@pytest.mark.parametrize(
    ("damage", "least", "most"),
    [
        (truncate(0.9), ALL * 0.8, ALL),
        (truncate(0.5), ALL * 0.3, ALL * 0.8),
        (truncate(0.0401), 0, ALL * 0.2),
        (garbage_header, ALL, ALL),
        (garbage_first_page, ALL, ALL),
        (zero_message_pages, ALL - 60, ALL - 3),
        (garbage_in_message_pages, ALL - 60, ALL - 1),
        (zero_message_root, ALL, ALL),
        (zero_conversation_root, ALL, ALL),
        (zero_every_tenth_page, ALL * 0.7, ALL),
        (zero_an_index, ALL, ALL),
    ],
)
def test_what_is_readable_is_saved(filled, damage, least, most):
    damage(filled)
    damaged_bytes = filled.read_bytes()
    with Store.open(filled) as store:
        count = intact(store)
        assert least <= count <= most
        found = aside(filled, store)
        assert found.read_bytes() == damaged_bytes
        conversations = len(store.conversations())
        assert "was damaged" in store.notices[0]
        if count:
            assert f"{conversations} conversation" in store.notices[0]
            assert f"{count} message" in store.notices[0]
        made = store.create_conversation(NewConversation(title="life goes on"))
        store.add_message(made.id, None, "user", "hello")
    with Store.open(filled) as store:
        assert store.notices == []
        assert len(store.conversations()) == conversations + 1


def test_all_of_it_comes_back_where_only_the_header_is_gone(filled):
    with Store.open(filled) as store:
        before = everything(store)
        titles = [c.title for c in store.conversations()]
    garbage_header(filled)
    with Store.open(filled) as store:
        assert everything(store) == before
        assert [c.title for c in store.conversations()] == titles
        assert "which is all that was in it" in store.notices[0]
        first = store.conversations()[0]
        assert store.list_folders()[0].id == first.folder_id
        assert store.list_presets()[0].id == first.preset_id
        (attachment,) = store.attachments(first.head_id)
        assert store.attachment_content(attachment.id) == bytes([CONVERSATIONS - 1]) * 9000
        assert store.search("turn")


def test_a_conversation_whose_own_row_is_lost_gets_a_name(filled):
    for page in leaves(filled, "conversations"):
        overwrite(filled, page, bytes(PAGE_SIZE))
    with Store.open(filled) as store:
        assert intact(store) == ALL
        assert {c.title for c in store.conversations()} == {"Recovered conversation"}
        assert len(store.conversations()) == CONVERSATIONS


def test_damage_to_an_index_only_loses_nothing_and_says_so(filled):
    zero_an_index(filled)
    with Store.open(filled) as store:
        assert "which is all that was in it" in store.notices[0]


def test_what_was_deleted_does_not_come_back(filled):
    with Store.open(filled) as store:
        for conversation in store.conversations()[:25]:
            store.delete_conversation(conversation.id)
        store.purge_deleted(float("inf"))
    zero_message_root(filled)
    with Store.open(filled) as store:
        assert intact(store) == 5 * TURNS


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100_000), os.urandom(100_000), b"SQLite format 3\0" * 1000])
def test_a_file_that_is_nothing(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with Store.open(path) as store:
        assert store.conversations() == []
        if content:
            assert aside(path, store).read_bytes() == content
            assert "Nothing in it could be read" in store.notices[0]
        else:  # SQLite itself makes an empty file before it writes to it
            assert store.notices == []


def test_a_folder_in_its_place(path):
    path.mkdir(parents=True)
    (path / "something.txt").write_text("mine")
    with Store.open(path) as store:
        assert (aside(path, store) / "something.txt").read_text() == "mine"
        store.create_conversation(NewConversation())


def test_a_database_of_another_program(path):
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with Store.open(path) as store:
        found = aside(path, store)
    with contextlib.closing(sqlite3.connect(found)) as connection:
        connection.execute("SELECT * FROM theirs").fetchall()


# The write-ahead log


def killed(path: Path) -> None:
    """The files as a killed process leaves them: with the log not folded in."""
    store = Store.open(path)
    made = store.create_conversation(NewConversation(title="in the log"))
    parent = None
    for turn in range(40):
        parent = store.add_message(made.id, parent, "user", f"log turn {turn}").id
    copies = {file.name: file.read_bytes() for file in path.parent.glob("nutshell.db*") if "owner" not in file.name}
    store.close()
    for name, content in copies.items():
        path.with_name(name).write_bytes(content)


def log_texts(store: Store) -> list[str]:
    (found,) = [c for c in store.conversations() if c.title in ("in the log", "Recovered conversation")]
    return [m.content for m in store.detail(found.id).messages]


def test_a_sound_log_is_simply_read(filled):
    killed(filled)
    with Store.open(filled) as store:
        assert store.notices == []
        assert log_texts(store) == [f"log turn {n}" for n in range(40)]


@pytest.mark.parametrize("where", ["header", "middle", "all"])
def test_a_damaged_log_is_noticed_and_what_is_behind_the_damage_is_saved(filled, where):
    killed(filled)
    log = filled.with_name("nutshell.db-wal")
    content = bytearray(log.read_bytes())
    frame = 24 + PAGE_SIZE
    middle = 32 + (len(content) - 32) // frame // 2 * frame
    if where == "header":
        content[:32] = b"\x11" * 32
    elif where == "middle":
        content[middle + 24 : middle + 24 + 200] = b"\x11" * 200
    else:
        content[:] = b"\x11" * len(content)
    log.write_bytes(content)
    with Store.open(filled) as store:
        found = aside(filled, store)
        kept = found.with_name(found.name + "-wal")
        assert kept.read_bytes() == content
        if where == "all":
            assert len(store.conversations()) == CONVERSATIONS
        else:
            # a later version of a page holds what the damaged one held
            assert log_texts(store)[-1] == "log turn 39"
            assert len(log_texts(store)) >= 35
        assert len([t for t in everything(store) if t.startswith("title")]) == CONVERSATIONS


def test_a_log_cut_off_in_its_last_frame_is_what_a_kill_leaves(filled):
    killed(filled)
    log = filled.with_name("nutshell.db-wal")
    os.truncate(log, log.stat().st_size - 100)
    with Store.open(filled) as store:
        assert store.notices == []
        assert log_texts(store)[0] == "log turn 0"


def test_old_frames_behind_a_restarted_log_are_not_taken_for_damage(path):
    store = Store.open(path)
    made = store.create_conversation(NewConversation(title="in the log"))
    for turn in range(40):
        store.add_message(made.id, None, "user", f"log turn {turn}")
    with store._db.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    store.add_message(made.id, None, "user", "log turn 40")
    copies = {file.name: file.read_bytes() for file in path.parent.glob("nutshell.db*") if "owner" not in file.name}
    store.close()
    for name, content in copies.items():
        path.with_name(name).write_bytes(content)
    content = copies["nutshell.db-wal"]
    assert wal.committed_frames(content, PAGE_SIZE) < (len(content) - 32) // (24 + PAGE_SIZE)
    with Store.open(path) as store:
        assert store.notices == []
        assert len(log_texts(store)) == 41


def test_an_emptied_file_with_a_log_is_recovered_from_the_log(path):
    killed(path)
    path.write_bytes(b"")
    with Store.open(path) as store:
        assert log_texts(store) == [f"log turn {n}" for n in range(40)]
        assert aside(path, store).exists()


# While it is in use


def test_damage_found_at_run_time_has_a_sentence_and_is_mended_at_the_next_start(filled, monkeypatch):
    monkeypatch.setattr("backend.storage.opening._ALWAYS_CHECKED", 0)  # as a large file
    zero_message_pages(filled)
    with Store.open(filled) as store:
        assert store.notices == []
        with pytest.raises(DatabaseDamagedError) as caught:
            everything(store)
        assert "start it again" in caught.value.remedy
        assert caught.value.details
        assert check_request(filled).exists()
        store.create_conversation(NewConversation(title="still possible"))
    with Store.open(filled) as store:
        aside(filled, store)
        assert intact_without(store, "still possible") >= ALL - 60
        assert not check_request(filled).exists()
    with Store.open(filled) as store:
        assert store.notices == []


def intact_without(store: Store, title: str) -> int:
    (extra,) = [c for c in store.conversations() if c.title == title]
    store.delete_conversation(extra.id)
    store.purge_deleted(float("inf"))
    return intact(store)


def test_a_damaged_file_that_another_process_uses_is_not_moved(filled):
    with Store.open(filled) as store:
        store.conversations()
        garbage_header(filled)
        with pytest.raises(DatabaseDamagedError) as caught:
            Store.open(filled)
        assert "Close every window" in caught.value.remedy
        assert list(filled.parent.glob("*damaged*")) == []


# A kill during the recovery


@pytest.mark.parametrize("calls", range(4))
def test_a_recovery_that_is_killed_is_finished_by_the_next_start(filled, monkeypatch, calls):
    killed(filled)
    zero_message_pages(filled)

    class Killed(BaseException):
        pass

    replace = Path.replace
    done = []

    def dying(self: Path, target: Path) -> Path:
        if len(done) == calls:
            raise Killed
        done.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    with pytest.raises(Killed) if calls < 2 else contextlib.suppress(Killed):
        Store.open(filled).close()
    monkeypatch.setattr(Path, "replace", replace)
    with Store.open(filled) as store:
        titles = {c.title for c in store.conversations()}
        assert titles >= {f"title {n}" for n in range(CONVERSATIONS)}
        assert "in the log" in titles
    assert len(list(filled.parent.glob("nutshell.damaged-*.db"))) == 1
    assert not list(filled.parent.glob("*.part"))


def test_a_half_written_recovery_is_begun_again(filled):
    recovery._target(filled).write_bytes(b"half")
    with Store.open(filled) as store:
        assert store.notices == []
        assert intact(store) == ALL
    assert not recovery._target(filled).exists()


def test_the_names_of_files_set_aside_do_not_collide(path):
    for _ in range(3):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 5000)
        Store.open(path).close()
    assert len(list(path.parent.glob("nutshell.damaged-*.db"))) == 3


# The reader of pages


def test_the_reader_agrees_with_sqlite_on_every_row(filled):
    with contextlib.closing(sqlite3.connect(filled)) as connection:
        for table in ("messages", "conversations", "attachments", "folders", "presets"):
            expected = connection.execute(f"SELECT * FROM {table} ORDER BY num").fetchall()
            with Pages(filled, PAGE_SIZE, {}) as pages:
                walk = pages.walk(root_of(filled, table))
                found = [row for leaf in walk.leaves for row in pages.rows(leaf)]
            assert walk.unreadable == 0
            assert [(number, *values[1:]) for number, values in found] == expected


def test_random_damage_never_raises(filled, tmp_path):
    import random

    whole = filled.read_bytes()
    rng = random.Random(7)
    target = tmp_path / "copy.db"
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 20, 2000))):
            at = rng.randrange(len(content))
            size = rng.choice((1, 4, 64))
            content[at : at + size] = rng.randbytes(len(content[at : at + size]))
        target.write_bytes(content)
        with Pages(target, PAGE_SIZE, {}) as pages:
            for number in range(1, pages.count + 1):
                list(pages.rows(number))
            pages.walk(rng.randrange(1, pages.count))
            pages.free_pages()
    for raw in (b"", b"\xff" * 20, b"\x03\x0d\x0d", bytes(50)):
        target.write_bytes(raw)
        with Pages(target, PAGE_SIZE, {}) as pages, pytest.raises(DamagedPageError):
            pages.page(1)


def test_random_damage_ends_in_an_open_store(filled, tmp_path):
    import random

    whole = filled.read_bytes()
    rng = random.Random(11)
    for round_number in range(12):
        path = tmp_path / str(round_number) / "nutshell.db"
        path.parent.mkdir()
        content = bytearray(whole)
        for _ in range(rng.choice((1, 5, 50, 500))):
            at = rng.randrange(len(content))
            content[at : at + 16] = rng.randbytes(len(content[at : at + 16]))
        path.write_bytes(content)
        with Store.open(path) as store, contextlib.suppress(DatabaseDamagedError):
            assert len(everything(store)) >= CONVERSATIONS * 0.3
