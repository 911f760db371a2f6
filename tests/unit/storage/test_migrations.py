"""Files of every past version, of a newer one, and a migration that fails."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backend.api.errors import ReadOnlyError, StorageError
from backend.api.schemas import ConversationUpdate, NewConversation, Sampling
from backend.storage import opening
from backend.storage.migrations import LATEST, MIGRATIONS, Migration, schema_columns
from backend.storage.store import Store

SCHEMAS = Path(__file__).parent / "schemas"
CONVERSATION = "c0000000000000000000000000000001"
MESSAGE = "a000000000000000000000000000000"


def old_file(path: Path, version: int = LATEST) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SCHEMAS / f"v{version}.sql").read_text("utf-8"))


def schema(path: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    return [(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows]


@pytest.fixture
def two_steps():
    """A next version: one column more, and a table."""

    def apply(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0")
        connection.execute("CREATE TABLE tags (num INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        connection.execute("UPDATE conversations SET pinned = 1 WHERE extra ->> 'pinned'")

    return (*MIGRATIONS, Migration(LATEST + 1, "pins", apply))


def open_with(steps: tuple[Migration, ...], path: Path) -> Store:
    return Store(opening.open_database(path, path.parent / "backups", steps))


def test_versions_count_up_and_each_has_a_fixture():
    assert [migration.version for migration in MIGRATIONS] == list(range(1, LATEST + 1))
    for migration in MIGRATIONS:
        assert (SCHEMAS / f"v{migration.version}.sql").exists()


@pytest.mark.parametrize("version", range(1, LATEST + 1))
def test_a_file_of_every_version_opens_with_all_that_was_in_it(path, tmp_path, version):
    old_file(path, version)
    with Store.open(path) as store:
        (conversation,) = store.conversations()
        assert (conversation.id, conversation.title) == (CONVERSATION, "Dinner ideas")
        assert conversation.sampling == Sampling(temperature=0.2)
        first, second, third = store.detail(CONVERSATION).messages
        assert first.content == "What goes with aubergines?"
        assert second.stats.tok_s == 24.5
        assert (third.status, third.content) == ("interrupted", "Tahini, lemon and mint")
        assert [m.id for m in store.siblings(second.id)] == [second.id, third.id]
        assert [h.message_id for h in store.search("tahini")] == [third.id]
        assert store.list_folders()[0].name == "Kitchen"
        (preset,) = store.list_presets()
        store.update_preset(preset.id, sampling=Sampling(temperature=0.9))
        assert [store.attachment_content(a.id) for a in store.attachments(first.id)] == [b"abc"]
        assert [prompt.name for prompt in store.list_prompts()] == (["Translate"] if version > 2 else [])
        store.add_message(CONVERSATION, third.id, "user", "and to drink?")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT extra FROM conversations").fetchone()[0] == '{"pinned":true}'
        sampling, extra = connection.execute("SELECT sampling, extra FROM presets").fetchone()
        assert '"from_later":1' in sampling
        assert '"temperature":0.9' in sampling
        assert extra == '{"icon":"pot"}'
    Store.open(tmp_path / "fresh.db").close()
    assert schema(path) == schema(tmp_path / "fresh.db")


def test_a_migration_leaves_a_backup_of_before_and_a_notice(path, two_steps):
    old_file(path)
    with open_with(two_steps, path) as store:
        assert [c.id for c in store.conversations()] == [CONVERSATION]
        (backup,) = (path.parent / "backups").iterdir()
        assert backup.name in store.notices[0]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == LATEST + 1
        assert connection.execute("SELECT pinned FROM conversations").fetchone()[0] == 1
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == LATEST
        assert connection.execute("SELECT count(*) FROM messages").fetchone()[0] == 3
    with open_with(two_steps, path) as store:
        assert store.notices == []
    assert len(list((path.parent / "backups").iterdir())) == 1


def test_a_new_database_needs_no_backup(path):
    with Store.open(path):
        assert not (path.parent / "backups").exists()


def test_backups_go_where_they_are_told_and_their_number_is_limited(path, tmp_path):
    steps = MIGRATIONS
    old_file(path)
    for number in range(8):
        step = Migration(LATEST + 1 + number, "more", lambda c, n=number: c.execute(f"CREATE TABLE more{n} (a)"))
        steps = (*steps, step)
        Store(opening.open_database(path, tmp_path / "elsewhere", steps)).close()
    versions = sorted(int(file.name.split("-")[1][1:]) for file in (tmp_path / "elsewhere").iterdir())
    assert versions == [LATEST + number for number in range(3, 8)]


def test_a_migration_that_fails_changes_nothing(path):
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE message_pieces")
        connection.execute("UPDATE conversations SET title = 'broken'")
        raise ValueError("a mistake in the migration")

    old_file(path)
    with pytest.raises(StorageError) as caught:
        open_with((*MIGRATIONS, Migration(LATEST + 1, "mistake", fail)), path)
    (backup,) = (path.parent / "backups").iterdir()
    assert str(backup) in caught.value.why
    assert "a mistake in the migration" in caught.value.details
    with Store.open(path) as store:  # this version goes on with the file as it was
        assert store.conversation(CONVERSATION).title == "Dinner ideas"
        assert store.message(MESSAGE + "3").content == "Tahini, lemon and mint"
    assert list(path.parent.glob("*owner*")) == []


def test_a_migration_that_breaks_references_is_rolled_back(path):
    old_file(path)
    step = Migration(LATEST + 1, "orphans", lambda c: c.execute("DELETE FROM conversations"))
    with pytest.raises(StorageError, match="could not be brought up to date"):
        open_with((*MIGRATIONS, step), path)
    with Store.open(path) as store:
        assert len(store.conversations()) == 1


def test_no_migration_without_its_backup(path, two_steps):
    old_file(path)
    (path.parent / "backups").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        open_with(two_steps, path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == LATEST


def test_a_newer_file_is_used_and_kept(path, two_steps):
    old_file(path)
    open_with(two_steps, path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE conversations SET context_policy = 'a_new_policy', extra = '{\"colour\":7}'")
        connection.execute("UPDATE messages SET role = 'tool', status = 'thinking' WHERE num = 2")
        connection.execute("INSERT INTO tags (name) VALUES ('kept')")
    with Store.open(path) as store:
        assert len(store.notices) == 1
        assert "newer version" in store.notices[0]
        found = store.update_conversation(CONVERSATION, ConversationUpdate(title="Changed here"))
        assert found.context_policy == "drop_middle"
        assert store.message(MESSAGE + "2").role == "user"
        assert store.message(MESSAGE + "2").status == "complete"
        store.create_conversation(NewConversation(title="made here"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == LATEST + 1
        row = connection.execute("SELECT title, context_policy, extra, pinned FROM conversations WHERE num = 1")
        assert row.fetchone() == ("Changed here", "a_new_policy", '{"colour":7}', 1)
        assert connection.execute("SELECT name FROM tags").fetchall() == [("kept",)]
        assert connection.execute("SELECT role FROM messages WHERE num = 2").fetchone()[0] == "tool"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE messages RENAME COLUMN content TO body",
        "ALTER TABLE presets RENAME TO characters",
        "CREATE TABLE x AS SELECT * FROM folders; DROP TABLE folders; CREATE TABLE folders (num INTEGER PRIMARY KEY,"
        " id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, parent_id TEXT, created_at REAL, extra TEXT,"
        " more TEXT NOT NULL)",
    ],
)
def test_a_newer_file_that_asks_too_much_is_left_alone(path, change):
    old_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"DROP TRIGGER messages_search_update; {change}; PRAGMA user_version = {LATEST + 5}")
    before = schema(path)
    with pytest.raises(StorageError) as caught:
        Store.open(path)
    assert "newer version" in caught.value.what
    assert not isinstance(caught.value, ReadOnlyError)
    assert schema(path) == before
    assert list(path.parent.glob("*damaged*")) == []


def test_statements_are_split_where_sqlite_says():
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            migration.apply(connection)
        assert set(schema_columns(connection)) == {
            "folders", "presets", "conversations", "messages", "message_pieces", "attachments", "message_search",
            "title_search", "prompts",
        }  # fmt: skip
        triggers = connection.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").fetchone()[0]
    assert triggers == 9
