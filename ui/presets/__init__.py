"""Presets: assistants with a name, an icon, a system prompt, word choice and a model."""
