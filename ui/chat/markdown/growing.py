"""A text that grows at its end and is read there only."""

from __future__ import annotations

__all__ = ["GrowingText", "Pieces"]


class Pieces:
    """A text that is put together when it is asked for, however often it grew in between."""

    def __init__(self, text: str = "") -> None:
        self._pieces = [text] if text else []
        self._length = len(text)

    def __len__(self) -> int:
        return self._length

    def append(self, piece: str) -> None:
        """Adds text at the end."""
        self._pieces.append(piece)
        self._length += len(piece)

    def whole(self) -> str:
        """All of it."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class GrowingText:
    """A text whose beginning is settled; only the `tail` behind that is held in one piece.

    In one piece as a whole, a 20,000-token answer was copied, 80 KB of it, with everything that came.

    Attributes:
        tail: what is not settled.
        stable: characters that are. stable_lines: line ends in them.
    """

    def __init__(self, text: str = "") -> None:
        self._settled = Pieces()
        self.tail = text
        self.stable = 0
        self.stable_lines = 0

    def __len__(self) -> int:
        return self.stable + len(self.tail)

    def append(self, piece: str) -> None:
        """Adds text at the end."""
        self.tail += piece

    def settle(self, count: int) -> None:
        """The next `count` characters will not be looked at again."""
        piece, self.tail = self.tail[:count], self.tail[count:]
        self._settled.append(piece)
        self.stable += len(piece)
        self.stable_lines += piece.count("\n")

    def whole(self) -> str:
        """All of it."""
        return self._settled.whole() + self.tail
