"""The way to a first model: what for, which one, fetched, tried."""
