"""A full disk, and places that cannot be written."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backend.api.errors import DiskFullError, NotFoundError, ReadOnlyError, StorageError
from backend.api.schemas import NewConversation
from backend.storage import database
from backend.storage.store import Store

ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and limits")


def limit_pages(store: Store, more: int) -> None:
    """Let the file grow by `more` pages at most, as on a disk that is nearly full."""
    with store._db.reading() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + more}")


def test_a_full_disk_has_a_sentence_and_keeps_what_was_saved(path):
    with Store.open(path) as store:
        made = store.create_conversation(NewConversation(title="before"))
        first = store.add_message(made.id, None, "user", "safe " * 100)
        limit_pages(store, 2)
        with pytest.raises(DiskFullError) as caught:
            store.add_message(made.id, first.id, "user", "too much " * 5000)
        assert "Free some space" in caught.value.remedy
        assert store.detail(made.id).messages == [first]
        assert store.conversation(made.id).head_id == first.id
        limit_pages(store, 100_000)
        second = store.add_message(made.id, first.id, "user", "there is room again")
    with Store.open(path) as store:
        assert store.notices == []
        assert store.detail(made.id).messages == [first, second]


def test_a_disk_that_fills_while_an_answer_streams_keeps_the_text_before(path):
    with Store.open(path) as store:
        made = store.create_conversation(NewConversation())
        answer = store.add_message(made.id, None, "assistant", "", status="streaming")
        limit_pages(store, 3)
        kept = 0

        def stream() -> None:
            nonlocal kept
            while True:
                store.append_text(answer.id, f"piece {kept}\n")
                kept += 1

        with pytest.raises(DiskFullError):
            stream()
        assert kept > 50
        limit_pages(store, 100_000)
        done = store.finish_message(answer.id, status="failed")
        assert done.content.splitlines() == [f"piece {number}" for number in range(kept)]


# A real limit of the system: no file of this process may grow beyond it.
FILLER = """
import resource, sys
from pathlib import Path
from backend.api.errors import StorageError
from backend.api.schemas import NewConversation
from backend.storage.store import Store

store = Store.open(Path(sys.argv[1]))
made = store.create_conversation(NewConversation(title="limited"))
answer = store.add_message(made.id, None, "assistant", "", status="streaming")
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
kept = 0
try:
    while True:
        store.append_text(answer.id, f"piece {kept}\\n" * 50)
        kept += 1
except StorageError as error:
    print(kept, error.code, error.what)
try:
    print(len(store.message(answer.id).content.splitlines()) // 50)
finally:
    store.close()
"""


@posix
def test_a_file_that_may_not_grow_loses_nothing(path):
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    kept, code, *_ = first.split()
    assert int(kept) > 100
    assert code in ("disk_full", "storage_error")
    assert second == kept
    with Store.open(path) as store:
        (conversation,) = store.conversations()
        (message,) = store.detail(conversation.id).messages
        assert message.status == "interrupted"
        assert len(message.content.splitlines()) // 50 == int(kept)


@posix
def test_a_quota_reported_as_a_fault_is_a_full_disk(store, monkeypatch):
    monkeypatch.setattr(database, "_low_on_space", lambda path: True)
    import sqlite3

    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert isinstance(database.translate(store.path, error), DiskFullError)
    monkeypatch.setattr(database, "_low_on_space", lambda path: False)
    assert type(database.translate(store.path, error)) is StorageError


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskFullError), (errno.EROFS, ReadOnlyError), (errno.EACCES, ReadOnlyError), (errno.EIO, None)],
)
def test_a_new_database_that_cannot_be_made_has_a_sentence(path, monkeypatch, number, kind):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError) as caught:
        Store.open(path)
    assert type(caught.value) is (kind or StorageError)
    assert caught.value.remedy


# Reading where nothing can be written


@contextlib.contextmanager
def ordinary_user():
    """The superuser may write everywhere; nobody may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked():
    """A database in a folder that this user can read and not write, outside pytest's own (private) folders."""
    folder = Path(tempfile.mkdtemp(prefix="nutshell-test-"))
    path = folder / "data" / "nutshell.db"
    with Store.open(path) as store:
        made = store.create_conversation(NewConversation(title="readable"))
        store.add_message(made.id, None, "user", "hello there")
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    folder.chmod(0o555)
    yield path
    folder.chmod(0o755)
    path.parent.chmod(0o755)
    shutil.rmtree(folder)


@posix
def test_a_read_only_folder_can_be_browsed(locked):
    with ordinary_user(), Store.open(locked) as store:
        assert store.read_only
        (notice,) = store.notices
        assert "cannot be saved" in notice
        assert "You can read them" in notice
        (conversation,) = store.conversations()
        assert [m.content for m in store.detail(conversation.id).messages] == ["hello there"]
        assert store.search("hello")
        for change in (
            lambda: store.create_conversation(NewConversation()),
            lambda: store.add_message(conversation.id, None, "user", "x"),
            lambda: store.delete_conversation(conversation.id),
            lambda: store.purge_deleted(0),
            lambda: store.create_folder("x"),
            lambda: store.delete_attachment("0" * 32),
        ):
            with pytest.raises(ReadOnlyError) as caught:
                change()
            assert caught.value.remedy
        with pytest.raises(NotFoundError):
            store.conversation("0" * 32)
    with ordinary_user(), Store.open(locked) as again:
        assert again.conversations()


@posix
def test_a_file_that_cannot_be_written_in_a_folder_that_can(locked):
    locked.parent.chmod(0o777)
    for file in locked.parent.iterdir():
        if file != locked:
            file.chmod(0o666)
    with ordinary_user(), Store.open(locked) as store:
        assert store.read_only
        assert len(store.conversations()) == 1


@posix
def test_no_database_in_a_read_only_folder(locked):
    with ordinary_user(), pytest.raises(ReadOnlyError):
        Store.open(locked.with_name("other.db"))


@posix
def test_a_killed_process_in_a_folder_that_became_read_only(locked):
    locked.parent.chmod(0o755)
    store = Store.open(locked)
    (conversation,) = store.conversations()
    answer = store.add_message(conversation.id, None, "assistant", "", status="streaming")
    store.append_text(answer.id, "half an answer")
    copies = {file: file.read_bytes() for file in locked.parent.glob("nutshell.db*") if "owner" not in file.name}
    store.close()
    for file, content in copies.items():
        file.write_bytes(content)
        file.chmod(0o444)
    locked.parent.chmod(0o555)
    with ordinary_user(), Store.open(locked) as store:
        assert store.read_only
        found = {m.id: m for m in store.detail(conversation.id).messages}
        # the log may be readable or not; what is shown is never called streaming
        if answer.id in found:
            assert (found[answer.id].status, found[answer.id].content) == ("interrupted", "half an answer")
        else:
            assert "may not be shown" in store.notices[0]


def test_a_full_disk_at_the_start_still_shows_the_conversations(path, monkeypatch):
    with Store.open(path) as store:
        store.create_conversation(NewConversation(title="there"))
    real = os.open

    def full(name: object, flags: int, *rest: int, **more: int) -> int:
        if str(name).endswith("-lock"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(name, flags, *rest, **more)

    monkeypatch.setattr(os, "open", full)
    with Store.open(path) as store:
        assert store.read_only
        assert "no room" in store.notices[0]
        assert [c.title for c in store.conversations()] == ["there"]


def test_a_busy_file_has_a_sentence(path, monkeypatch):
    import sqlite3

    with Store.open(path) as store:
        with store._db.reading() as connection:
            connection.execute("PRAGMA busy_timeout = 20")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError) as caught:
                store.create_conversation(NewConversation())
            assert "busy" in caught.value.what
            other.execute("ROLLBACK")
        store.create_conversation(NewConversation())


def test_an_opening_that_waits_too_long_has_a_sentence(path, monkeypatch):
    from backend.storage import opening
    from backend.storage.locks import FileLock

    Store.open(path).close()
    gate = FileLock(path.with_name("nutshell.db-lock"))
    assert gate.try_acquire()
    monkeypatch.setattr(opening, "_GATE_SECONDS", 0.05)
    with pytest.raises(StorageError) as caught:
        Store.open(path)
    assert "another Nutshell" in caught.value.what
    gate.release()
    Store.open(path).close()
