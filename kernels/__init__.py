"""The compute floor: every operation has a slow reference, and fast versions that are tested against it."""
