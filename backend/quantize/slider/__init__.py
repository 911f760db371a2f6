"""One ordered list of upgrades, and what a position on it costs and gives."""
