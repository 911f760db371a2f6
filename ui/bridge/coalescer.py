"""Joins the text that arrives between two frames, so that the window is painted 30 times a second and not 200."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal

from backend.api.schemas import TurnDelta

__all__ = ["DeltaCoalescer"]

FRAME_MS = 33


class DeltaCoalescer(QObject):
    """Holds back `TurnDelta` events for at most one frame.

    The first delta after a pause goes out at once; the following ones are joined per message until the frame is over.
    The timer stops with the first frame in which nothing came, so that an idle window does not wake the processor.
    """

    ready = Signal(object)  # TurnDelta

    def __init__(self, parent: QObject | None = None, *, frame_ms: int = FRAME_MS) -> None:
        super().__init__(parent)
        self._pending: dict[str, TurnDelta] = {}
        self._timer = QTimer(self)
        self._timer.setInterval(frame_ms)
        self._timer.timeout.connect(self._frame_over)

    @property
    def active(self) -> bool:
        """Whether the frame timer runs."""
        return self._timer.isActive()

    def add(self, delta: TurnDelta) -> None:
        """Take one delta from the engine."""
        if not self._timer.isActive():
            self._timer.start()
            self.ready.emit(delta)
            return
        held = self._pending.get(delta.message_id)
        if held is None:
            self._pending[delta.message_id] = delta
        elif delta.offset == held.offset + len(held.text):
            self._pending[delta.message_id] = TurnDelta(
                conversation_id=delta.conversation_id,
                message_id=delta.message_id,
                offset=held.offset,
                text=held.text + delta.text,
                tokens=delta.tokens,
                tok_s=delta.tok_s,
            )
        else:  # a gap or a repetition: the receiver mends it by the offsets
            self.flush(delta.message_id)
            self._pending[delta.message_id] = delta

    def flush(self, message_id: str | None = None) -> None:
        """Send what is held now: of one message, or (None) of all."""
        for key in [message_id] if message_id is not None else list(self._pending):
            held = self._pending.pop(key, None)
            if held is not None:
                self.ready.emit(held)

    def stop(self) -> None:
        """Send what is held and stop the timer."""
        self.flush()
        self._timer.stop()

    def _frame_over(self) -> None:
        if self._pending:
            self.flush()
        else:
            self._timer.stop()
