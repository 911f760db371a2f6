"""One window per data folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytestqt.qtbot import QtBot

from app.single_instance import Doorbell, claim, knock, server_name

ROOT = Path(__file__).resolve().parents[3]


def test_the_second_claim_is_refused_until_the_first_is_given_back(tmp_path: Path) -> None:
    first = claim(tmp_path)
    assert first is not None
    assert claim(tmp_path) is None
    assert claim(tmp_path / "another") is not None
    first.release()
    again = claim(tmp_path)
    assert again is not None
    again.release()


def test_a_killed_holder_leaves_nothing_behind(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom app.single_instance import claim\n"
        "held = claim(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"held"
        assert claim(tmp_path) is None
        holder.kill()
    lock = claim(tmp_path)
    assert lock is not None
    lock.release()


def test_a_knock_raises_the_first_window(tmp_path: Path, qtbot: QtBot) -> None:
    raised: list[bool] = []
    bell = Doorbell(tmp_path, lambda: raised.append(True))
    assert bell.listening
    script = (
        "import sys\nfrom pathlib import Path\nfrom PySide6.QtCore import QCoreApplication\n"
        "from app.single_instance import knock\napp = QCoreApplication([])\n"
        "sys.exit(0 if knock(Path(sys.argv[1])) else 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT) as second:
        qtbot.waitUntil(lambda: second.poll() is not None, timeout=20000)
    assert second.returncode == 0
    assert raised == [True]
    bell.close()


def test_a_knock_at_a_silent_door_is_answered_with_no(tmp_path: Path, qtbot: QtBot) -> None:
    assert knock(tmp_path, patience_s=0.1) is False


def test_a_socket_left_by_a_killed_window_is_replaced(tmp_path: Path, qtbot: QtBot) -> None:
    from PySide6.QtNetwork import QLocalServer

    stale = QLocalServer()
    assert stale.listen(server_name(tmp_path))
    bell = Doorbell(tmp_path, lambda: None)
    assert bell.listening
    bell.close()
    stale.close()
