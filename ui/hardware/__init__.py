"""The page that says what this machine has and what the loaded model takes of it."""
