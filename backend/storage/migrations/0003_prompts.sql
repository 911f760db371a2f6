-- Texts to be used again, with {{places}} to fill in.
CREATE TABLE prompts (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created_at REAL NOT NULL,
  extra TEXT NOT NULL DEFAULT '{}',
  text TEXT NOT NULL
);
