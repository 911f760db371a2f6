"""Speculative generation: drafts as trees of tokens, checked in one pass of the model. See README.md."""
