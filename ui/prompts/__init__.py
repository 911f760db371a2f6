"""Prompts: texts that are used again, with places to fill in."""
