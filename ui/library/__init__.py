"""Choosing a model: the button that says which one answers, and the menu of those on this machine."""
