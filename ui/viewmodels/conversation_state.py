"""The open conversation: its tree, the branch that is shown, and the answers that stream into it."""

from __future__ import annotations

from collections.abc import Iterable

from backend.api.schemas import Conversation, ConversationDetail, Message, TurnDelta

__all__ = ["ConversationState"]


class ConversationState:
    """A conversation's messages by id, with the branch from root to head.

    Plain Python: no Qt, no requests. Messages are the schema's structs and are replaced or mended in place. Text that
    streams in is put together when a message is asked for: token by token, all of a long one was copied each time.
    """

    def __init__(self, conversation: Conversation, messages: Iterable[Message] = ()) -> None:
        self.conversation = conversation
        self._messages: dict[str, Message] = {}
        self._children: dict[str | None, list[str]] = {}
        self._pieces: dict[str, list[str]] = {}  # message id -> streamed text that its content does not have yet
        self._lengths: dict[str, int] = {}  # of the content with these pieces
        for message in messages:
            self.put(message)

    @property
    def id(self) -> str:
        """The conversation's id."""
        return self.conversation.id

    @property
    def head_id(self) -> str | None:
        """The leaf of the branch that is shown; falls back to the newest leaf when the stored one is unknown."""
        head = self.conversation.head_id
        if head in self._messages:
            return head
        return self._newest_leaf(None)

    def get(self, message_id: str) -> Message | None:
        """The message of that id, if it is in this conversation."""
        self._join()
        return self._messages.get(message_id)

    def __len__(self) -> int:
        return len(self._messages)

    # Reading the tree

    def branch(self) -> list[Message]:
        """The messages that are shown, root first. A loop or a missing parent in damaged data ends the walk."""
        self._join()
        path: list[Message] = []
        seen: set[str] = set()
        at = self.head_id
        while at is not None and at in self._messages and at not in seen:
            seen.add(at)
            path.append(self._messages[at])
            at = self._messages[at].parent_id
        path.reverse()
        return path

    def siblings(self) -> dict[str, tuple[int, int]]:
        """Message id -> (index from 0, count), for the messages of the branch."""
        found: dict[str, tuple[int, int]] = {}
        for message in self.branch():
            family = self._children.get(message.parent_id, [])
            found[message.id] = (family.index(message.id), len(family))
        return found

    def sibling_leaf(self, message_id: str, step: int) -> str | None:
        """The head to show for the next (+1) or previous (-1) version of a message; None at an end."""
        message = self._messages.get(message_id)
        if message is None:
            return None
        family = self._children.get(message.parent_id, [])
        index = family.index(message_id) + step
        if not 0 <= index < len(family):
            return None
        return self._newest_leaf(family[index]) or family[index]

    def leaf_of(self, message_id: str) -> str:
        """The end of the newest branch that goes through a message."""
        return self._newest_leaf(message_id) or message_id

    def last(self, role: str) -> Message | None:
        """The last message of that role in the branch."""
        return next((message for message in reversed(self.branch()) if message.role == role), None)

    def streaming(self) -> Message | None:
        """The answer that is being written in the branch, if any."""
        head = self.last("assistant")
        return head if head is not None and head.status == "streaming" else None

    # Changing it

    def put(self, message: Message) -> None:
        """Add or replace one message."""
        if message.id not in self._messages:
            family = self._children.setdefault(message.parent_id, [])
            family.append(message.id)
        self._pieces.pop(message.id, None)
        self._lengths.pop(message.id, None)
        self._messages[message.id] = message

    def show(self, head_id: str) -> None:
        """Make `head_id` the leaf of the shown branch."""
        self.conversation.head_id = head_id

    def extend(self, delta: TurnDelta) -> bool:
        """Add streamed text. False when text before it is missing, so that the message must be read again.

        Text that is already there is kept and not doubled: an offset inside the content cuts it there first.
        """
        message = self._messages.get(delta.message_id)
        if message is None:
            return False
        length = self._lengths.get(message.id, len(message.content))
        if delta.offset > length:
            return False
        if delta.offset < length:
            self._join()
            message.content = message.content[: delta.offset]
        self._pieces.setdefault(message.id, []).append(delta.text)
        self._lengths[message.id] = delta.offset + len(delta.text)
        message.status = "streaming"
        return True

    def _join(self) -> None:
        for message_id, pieces in self._pieces.items():
            message = self._messages[message_id]
            message.content = "".join([message.content, *pieces])
        self._pieces.clear()
        self._lengths.clear()

    def interrupt(self) -> list[Message]:
        """The engine went away: every streaming answer keeps its text and is marked as interrupted."""
        self._join()
        hit = [message for message in self._messages.values() if message.status == "streaming"]
        for message in hit:
            message.status = "interrupted"
        return hit

    def refresh(self, detail: ConversationDetail) -> None:
        """Take the stored state, but never show less of an answer than was shown.

        The engine writes text down in pieces, so after its death the store may lack the last words that were on
        screen. A finished message is taken as it is stored.
        """
        self._join()
        shown = {key: message.content for key, message in self._messages.items()}
        self.conversation = detail.conversation
        self._messages.clear()
        self._children.clear()
        for message in detail.messages:
            before = shown.get(message.id, "")
            if message.status in ("interrupted", "streaming") and len(before) > len(message.content):
                message.content = before
            self.put(message)

    def _newest_leaf(self, start: str | None) -> str | None:
        """The leaf under `start` that is reached by always taking the newest child."""
        at = start
        for _ in range(len(self._messages) + 1):
            family = self._children.get(at)
            if not family:
                break
            at = family[-1]
        return at
