"""One module per terminal command: `add` declares it, `run` does it and returns the exit code."""
