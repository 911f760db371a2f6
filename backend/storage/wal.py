"""The write-ahead log: how much of it should count, and the pages it holds when SQLite would not read all of it.

SQLite reads a log up to the first frame whose checksum is wrong and takes that for its end. After a kill this is
right; in a log that was damaged it forgets what comes behind, without a word. Format: a header of 32 bytes, then frames
of 24 bytes and a page. A checksum runs from frame to frame, so each can be tested with the one before it.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

__all__ = ["committed_frames", "newest_pages"]

_MAGIC = (0x377F0682, 0x377F0683)  # the last bit: checksums over big-endian words
_HEADER = struct.Struct(">IIIIIIII")  # magic, version, page size, sequence, salt, salt, checksum, checksum
_FRAME = struct.Struct(">IIIIII")  # page, pages after a commit or 0, salt, salt, checksum, checksum


def _checksum(data: bytes, start: tuple[int, int], big_endian: bool) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{'>' if big_endian else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _frames(log: bytes, page_size: int) -> Iterator[tuple[int, tuple[int, int, int, int, int, int]]]:
    for at in range(_HEADER.size, len(log) - _FRAME.size - page_size + 1, _FRAME.size + page_size):
        yield at, _FRAME.unpack_from(log, at)


def committed_frames(log: bytes, page_size: int) -> int | None:
    """How many frames SQLite should find in a sound log: up to the last commit. None where the header is damaged.

    Looks at headers only (24 bytes of every 4,120), so that it costs nothing at a start.
    """
    if len(log) < _HEADER.size + _FRAME.size + page_size:
        return 0
    magic, version, size, _, *salts, first, second = _HEADER.unpack_from(log)
    if magic not in _MAGIC or version != 3007000 or size != page_size:
        return None
    if _checksum(log[:24], (0, 0), bool(magic & 1)) != (first, second):
        return None
    frames: list[tuple[int, tuple[int, ...]]] = list(_frames(log, page_size))
    # others are left from before the log was last begun again
    ours = [index for index, (_, frame) in enumerate(frames) if list(frame[2:4]) == salts]
    commits = [index for index in ours if frames[index][1][1]]
    # SQLite writes a frame's header and then its page. A kill between the two leaves a torn frame, always the last one;
    # over an old round of the log the file does not end there, so only the checksum tells.
    if commits and commits[-1] == ours[-1] and not _whole(log, page_size, frames, commits[-1]):
        commits.pop()
    return commits[-1] + 1 if commits else 0


def _whole(log: bytes, page_size: int, frames: list[tuple[int, tuple[int, ...]]], index: int) -> bool:
    """Whether a frame's checksum continues that of the frame before it."""
    at, (*_, first, second) = frames[index]
    before = frames[index - 1][1][4:6] if index else _HEADER.unpack_from(log)[6:8]
    data = log[at : at + 8] + log[at + _FRAME.size : at + _FRAME.size + page_size]
    return _checksum(data, (before[0], before[1]), bool(_HEADER.unpack_from(log)[0] & 1)) == (first, second)


def newest_pages(log: bytes, page_size: int) -> dict[int, bytes]:
    """Page number -> its newest version among the frames that are whole, those behind a damaged one included."""
    frames = list(_frames(log, page_size))
    if not frames:
        return {}
    magic = _HEADER.unpack_from(log)[0]
    # The header's salts, or where it is damaged those that most frames carry.
    salts = Counter(frame[2:4] for _, frame in frames)
    mine = salts.most_common(1)[0][0]
    orders = (bool(magic & 1),) if magic in _MAGIC else (False, True)
    if committed_frames(log, page_size) is not None:
        mine = _HEADER.unpack_from(log)[4:6]
    before: tuple[int, int] = _HEADER.unpack_from(log)[6:8]
    waiting: dict[int, bytes] = {}
    pages: dict[int, bytes] = {}
    for at, (number, commit, *salt, first, second) in frames:
        data = log[at + _FRAME.size : at + _FRAME.size + page_size]
        whole = any(_checksum(log[at : at + 8] + data, before, order) == (first, second) for order in orders)
        before = (first, second)
        if tuple(salt) != mine or not whole or number == 0:
            continue
        waiting[number] = data
        if commit:
            pages |= waiting
            waiting = {}
    return pages
