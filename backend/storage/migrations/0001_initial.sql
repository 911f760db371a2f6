-- The first schema. README.md in the folder above says what each table is for.
-- `num` orders rows by creation and never leaves the database; `id` (32 hexadecimal digits) is what the world sees.
-- `extra` is a JSON object for fields of newer versions: older ones never touch it.

PRAGMA application_id = 0x4E757473;

CREATE TABLE folders (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  parent_id TEXT REFERENCES folders (id) ON DELETE SET NULL,
  created_at REAL NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE presets (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  system_prompt TEXT NOT NULL DEFAULT '',
  sampling TEXT,
  created_at REAL NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}'
);

CREATE TABLE conversations (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  deleted_at REAL,
  folder_id TEXT REFERENCES folders (id) ON DELETE SET NULL,
  preset_id TEXT REFERENCES presets (id) ON DELETE SET NULL,
  head_id TEXT,
  context_policy TEXT NOT NULL DEFAULT 'drop_middle',
  model TEXT,
  sampling TEXT,
  extra TEXT NOT NULL DEFAULT '{}',
  title TEXT NOT NULL DEFAULT '',
  system_prompt TEXT NOT NULL DEFAULT ''
);
CREATE INDEX conversations_by_time ON conversations (updated_at);
CREATE INDEX conversations_by_folder ON conversations (folder_id);

-- The parent's deletion does not cascade: SQLite would recurse once per generation, and stops at 1,000. A conversation
-- takes all its messages with it, and the deferred check is content with that.
CREATE TABLE messages (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
  parent_id TEXT REFERENCES messages (id) DEFERRABLE INITIALLY DEFERRED,
  role TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at REAL NOT NULL,
  model TEXT,
  owner TEXT,
  stats TEXT,
  error TEXT,
  extra TEXT NOT NULL DEFAULT '{}',
  content TEXT NOT NULL DEFAULT ''
);
CREATE INDEX messages_by_conversation ON messages (conversation_id);
CREATE INDEX messages_by_parent ON messages (parent_id);
CREATE INDEX messages_streaming ON messages (owner) WHERE status = 'streaming';

-- Text as it streams. Holds only answers that are being written now, so that a scan is short and an index would cost
-- a second page write per piece.
CREATE TABLE message_pieces (
  num INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
  text TEXT NOT NULL
);

CREATE TABLE attachments (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  mime TEXT NOT NULL,
  size INTEGER NOT NULL,
  created_at REAL NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}',
  text TEXT NOT NULL DEFAULT '',
  content BLOB NOT NULL
);
CREATE INDEX attachments_by_message ON attachments (message_id);

-- Full-text search. The text itself stays in its own table (external content); every row is indexed, empty ones too,
-- so that triggers, 'rebuild' and 'integrity-check' agree. A streaming answer is '' until it is finished.
CREATE VIRTUAL TABLE message_search USING fts5 (
  content, content = 'messages', content_rowid = 'num', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER messages_search_insert AFTER INSERT ON messages BEGIN
  INSERT INTO message_search (rowid, content) VALUES (new.num, new.content);
END;
CREATE TRIGGER messages_search_delete AFTER DELETE ON messages BEGIN
  INSERT INTO message_search (message_search, rowid, content) VALUES ('delete', old.num, old.content);
END;
CREATE TRIGGER messages_search_update AFTER UPDATE OF content ON messages WHEN new.content IS NOT old.content BEGIN
  INSERT INTO message_search (message_search, rowid, content) VALUES ('delete', old.num, old.content);
  INSERT INTO message_search (rowid, content) VALUES (new.num, new.content);
END;

CREATE VIRTUAL TABLE title_search USING fts5 (
  title, content = 'conversations', content_rowid = 'num', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER titles_search_insert AFTER INSERT ON conversations BEGIN
  INSERT INTO title_search (rowid, title) VALUES (new.num, new.title);
END;
CREATE TRIGGER titles_search_delete AFTER DELETE ON conversations BEGIN
  INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.num, old.title);
END;
CREATE TRIGGER titles_search_update AFTER UPDATE OF title ON conversations WHEN new.title IS NOT old.title BEGIN
  INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.num, old.title);
  INSERT INTO title_search (rowid, title) VALUES (new.num, new.title);
END;
