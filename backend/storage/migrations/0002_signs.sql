-- What the full-text index does not see (signs, and scripts without spaces) is looked for letter by letter. A message's
-- signature says which pairs of such letters may be in it, so that only a few messages are read. A message without one
-- stands in message_search_todo and is read by every such search until it has one; the triggers need nothing of ours,
-- so that a version without signatures can use the file too.
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
INSERT INTO message_search_todo (num) SELECT num FROM messages;
