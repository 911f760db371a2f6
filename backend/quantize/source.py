"""The model that is compressed: opened anew now and then, so that what was read of its files leaves the memory."""

from __future__ import annotations

from backend.formats.checkpoint import Checkpoint, open_checkpoint

__all__ = ["Source"]


class Source:
    """An open checkpoint.

    Args:
        checkpoint: open; closed by `close`.
        table: the linear that holds the embedding.
    """

    def __init__(self, checkpoint: Checkpoint, table: str) -> None:
        self.checkpoint = checkpoint
        self.table = table

    def refresh(self) -> None:
        """Pages of a mapped file count as memory of this process for as long as it is open."""
        path = self.checkpoint.path
        self.checkpoint.close()
        self.checkpoint = open_checkpoint(path)

    def close(self) -> None:
        """Lets go of the files."""
        self.checkpoint.close()
