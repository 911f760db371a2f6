"""Everything that is not a window: models, conversations, storage, the engine process. Free of Qt."""
