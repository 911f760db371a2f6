"""Files that are given with a message: what text is in them, and in what frame the model reads it."""
