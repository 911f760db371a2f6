"""Predicts what a model needs and how fast it runs, before a byte is downloaded or loaded. Pure arithmetic (README)."""
