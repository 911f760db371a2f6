"""The command palette: everything that the program can do, found by a few letters."""
