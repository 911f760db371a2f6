"""What a killed process leaves behind. Real processes, really killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.api.errors import ConflictError
from backend.api.schemas import NewConversation
from backend.storage.locks import FileLock
from backend.storage.store import Store

ROOT = Path(__file__).resolve().parents[3]

# Streams an answer and says after every append how many pieces are stored.
STREAMER = """
import sys
from pathlib import Path
from backend.api.schemas import NewConversation
from backend.storage.store import Store

store = Store.open(Path(sys.argv[1]))
made = store.create_conversation(NewConversation(title="killed"))
asked = store.add_message(made.id, None, "user", "tell me a story")
answer = store.add_message(made.id, asked.id, "assistant", "", status="streaming")
print(answer.id, flush=True)
for number in range(int(sys.argv[2])):
    store.append_text(answer.id, f"piece {number}\\n")
    print(number, flush=True)
sys.stdin.read()
"""


class Streamer:
    """A process that streams `pieces` pieces, then waits."""

    def __init__(self, path: Path, pieces: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STREAMER, str(path), str(pieces)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self.message_id = self.process.stdout.readline().strip()

    def wait_for(self, number: int) -> None:
        while int(self.process.stdout.readline()) < number:
            pass

    def kill(self) -> int:
        """Kill -9; gives the number of the last piece that was stored for certain."""
        self.process.kill()
        rest = self.process.stdout.read().split("\n")
        assert self.process.wait(10) == (-signal.SIGKILL if os.name != "nt" else 1)
        self.process.stdin.close()
        self.process.stdout.close()
        # the last line may be cut off by the kill, so it counts only when its end is there
        return max((int(line) for line in rest[:-1] if line), default=-1)


@pytest.mark.parametrize("after", [0, 37, 1500])
def test_kill_in_the_middle_loses_nothing_that_was_stored(path, after):
    streamer = Streamer(path, 1_000_000)
    streamer.wait_for(after)
    last = max(streamer.kill(), after)
    with Store.open(path) as store:
        assert store.notices == []
        found = store.message(streamer.message_id)
        assert found.status == "interrupted"
        lines = found.content.splitlines()
        # one more may be stored whose number the kill kept from being printed
        assert len(lines) in (last + 1, last + 2)
        assert lines == [f"piece {number}" for number in range(len(lines))]
        assert store.search("piece")
        assert store.conversation(found.conversation_id).head_id == found.id
        again = store.reopen_message(found.id)
        store.append_text(again.id, "and on")
        assert store.finish_message(again.id, status="complete").content.endswith("and on")
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["nutshell.db", "nutshell.db-lock"]


def test_an_answer_of_a_living_process_is_left_alone(path):
    streamer = Streamer(path, 5)
    streamer.wait_for(4)
    try:
        with Store.open(path) as store:
            found = store.message(streamer.message_id)
            assert found.status == "streaming"
            assert found.content.splitlines()[-1] == "piece 4"
            with pytest.raises(ConflictError):
                store.append_text(found.id, "mine")
            with Store.open(path) as third:  # a second look with two alive
                assert third.message(found.id).status == "streaming"
    finally:
        streamer.kill()
    with Store.open(path) as store:
        assert store.message(streamer.message_id).status == "interrupted"


def test_lock_files_of_the_dead_are_removed(path):
    path.parent.mkdir()
    stale = path.with_name("nutshell.db-owner-0123456789abcdef")
    stale.touch()
    with Store.open(path):
        assert not stale.exists()
        assert len(list(path.parent.glob("nutshell.db-owner-*"))) == 1
    assert list(path.parent.glob("nutshell.db-owner-*")) == []


def test_a_folder_with_brackets_in_its_name(tmp_path):
    path = tmp_path / "[data]*" / "nut[1].db" if os.name != "nt" else tmp_path / "[data]" / "nut[1].db"
    first = Store.open(path)
    made = first.create_conversation(NewConversation())
    answer = first.add_message(made.id, None, "assistant", "", status="streaming")
    with Store.open(path) as second:
        assert second.message(answer.id).status == "streaming"
    first.close()


def test_a_lock_excludes_and_is_given_back(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    begun = time.monotonic()
    assert not second.acquire(0.05)
    assert time.monotonic() - begun < 5
    first.release()
    assert second.acquire(5)
    second.release(remove=True)
    assert not (tmp_path / "lock").exists()
    second.release()


def test_many_processes_open_a_new_database_at_once(path):
    code = (
        "import sys; from pathlib import Path; from backend.storage.store import Store;"
        "from backend.api.schemas import NewConversation;"
        "store = Store.open(Path(sys.argv[1])); store.create_conversation(NewConversation()); store.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with Store.open(path) as store:
        assert store.notices == []
        assert len(store.conversations()) == 4
