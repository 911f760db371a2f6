"""The routes: `native` for our own window and terminal, `openai` for other programs."""
