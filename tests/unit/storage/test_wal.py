"""How much of a write-ahead log should count."""

import sqlite3
from contextlib import closing

import pytest

from backend.storage import wal

PAGE = 4096
FRAME = 24 + PAGE


@pytest.fixture
def log(tmp_path):
    """The log of eight commits of one page each, over a longer round before it."""
    path = tmp_path / "it.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (x)")
        for number in range(20):
            db.execute("INSERT INTO t VALUES (?)", (number,))
        db.execute("PRAGMA wal_checkpoint(RESTART)")  # the next commit begins the log again
        for number in range(8):
            db.execute("INSERT INTO t VALUES (?)", (number,))
        return (tmp_path / "it.db-wal").read_bytes()


def broken(log, frame):
    """The log with the page of one frame as an older round left it."""
    at = 32 + (frame - 1) * FRAME + 24
    return log[:at] + bytes(PAGE) + log[at + PAGE :]


def test_frames_of_an_older_round_do_not_count(log):
    assert len(log) > 32 + 20 * FRAME
    assert wal.committed_frames(log, PAGE) == 8


def test_a_last_frame_that_a_kill_cut_off_between_header_and_page_does_not_count(log):
    assert wal.committed_frames(broken(log, 8), PAGE) == 7


def test_a_frame_broken_before_the_last_one_is_damage_and_counts(log):
    assert wal.committed_frames(broken(log, 5), PAGE) == 8


def test_a_torn_first_frame_leaves_nothing(log):
    first = log[:32] + log[32 : 32 + FRAME] + bytes(len(log) - 32 - FRAME)
    assert wal.committed_frames(first, PAGE) == 1
    assert wal.committed_frames(broken(first, 1), PAGE) == 0
