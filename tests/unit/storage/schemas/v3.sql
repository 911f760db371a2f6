-- A database as version 3 of the schema left it. Never edit: it stands for files on people's disks.
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
CREATE TABLE message_search_signs (
  num INTEGER PRIMARY KEY,
  s0 INTEGER NOT NULL, s1 INTEGER NOT NULL, s2 INTEGER NOT NULL, s3 INTEGER NOT NULL,
  s4 INTEGER NOT NULL, s5 INTEGER NOT NULL, s6 INTEGER NOT NULL, s7 INTEGER NOT NULL
);
CREATE TABLE message_search_todo (num INTEGER PRIMARY KEY);
CREATE TRIGGER messages_signs_insert AFTER INSERT ON messages BEGIN
  INSERT OR IGNORE INTO message_search_todo (num) VALUES (new.num);
END;
CREATE TRIGGER messages_signs_delete AFTER DELETE ON messages BEGIN
  DELETE FROM message_search_signs WHERE num = old.num;
  DELETE FROM message_search_todo WHERE num = old.num;
END;
CREATE TRIGGER messages_signs_update AFTER UPDATE OF content ON messages WHEN new.content IS NOT old.content BEGIN
  DELETE FROM message_search_signs WHERE num = new.num;
  INSERT OR IGNORE INTO message_search_todo (num) VALUES (new.num);
END;
-- Texts to be used again, with {{places}} to fill in.
CREATE TABLE prompts (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created_at REAL NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}',
  text TEXT NOT NULL
);
PRAGMA user_version = 3;

INSERT INTO folders (id, name, parent_id, created_at) VALUES ('f0000000000000000000000000000001', 'Kitchen', NULL, 1000.0);
INSERT INTO presets (id, name, system_prompt, sampling, created_at, extra) VALUES
  ('e0000000000000000000000000000001', 'Cook', 'You cook.', '{"temperature":0.2,"from_later":1}', 1001.0, '{"icon":"pot"}');
INSERT INTO conversations (id, created_at, updated_at, folder_id, preset_id, head_id, model, sampling, extra, title, system_prompt)
  VALUES ('c0000000000000000000000000000001', 1002.0, 1010.0, 'f0000000000000000000000000000001',
  'e0000000000000000000000000000001', 'a0000000000000000000000000000003', '0123456789abcdef', '{"temperature":0.2}',
  '{"pinned":true}', 'Dinner ideas', 'You cook.');
INSERT INTO messages (id, conversation_id, parent_id, role, status, created_at, model, stats, content) VALUES
  ('a0000000000000000000000000000001', 'c0000000000000000000000000000001', NULL, 'user', 'complete', 1003.0, NULL, NULL,
   'What goes with aubergines?'),
  ('a0000000000000000000000000000002', 'c0000000000000000000000000000001', 'a0000000000000000000000000000001', 'assistant',
   'complete', 1004.0, '0123456789abcdef', '{"tok_s":24.5,"completion_tokens":9}', 'Tomatoes and garlic.'),
  ('a0000000000000000000000000000003', 'c0000000000000000000000000000001', 'a0000000000000000000000000000001', 'assistant',
   'streaming', 1005.0, '0123456789abcdef', NULL, 'Tahini, ');
UPDATE messages SET owner = 'dead00000000beef' WHERE status = 'streaming';
INSERT INTO message_pieces (message_id, text) VALUES
  ('a0000000000000000000000000000003', 'lemon '), ('a0000000000000000000000000000003', 'and mint');
INSERT INTO attachments (id, message_id, name, mime, size, created_at, text, content) VALUES
  ('b0000000000000000000000000000001', 'a0000000000000000000000000000001', 'garden.txt', 'text/plain', 3, 1006.0, 'abc', x'616263');
INSERT INTO prompts (id, name, created_at, text) VALUES ('d0000000000000000000000000000001', 'Translate', 1007.0, 'Translate into {{language}}:');
