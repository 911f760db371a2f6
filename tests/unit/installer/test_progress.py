from __future__ import annotations

import io

import pytest

from installer.progress import Progress, words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (12, "12 s"), (72, "1 min 12 s"), (59.6, "1 min 0 s"), (3900, "1 h 5 min")]
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert words(seconds) == said


def test_a_terminal_shows_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("installer.progress.time.monotonic", lambda: now)
    screen = Terminal()
    progress = Progress(6, screen)
    progress.begin("Building llama.cpp")
    now = 172.0
    progress.update("41/140")
    now = 190.0
    progress.done()
    lines = [part.rstrip() for part in screen.getvalue().split("\r")]
    assert lines[1:] == [
        "[1/6] Building llama.cpp ...",
        "[1/6] Building llama.cpp ... 41/140, 1 min 12 s",
        "[1/6] Building llama.cpp: done, 1 min 30 s",
    ]
    assert screen.getvalue().count("\n") == 1


def test_a_shorter_line_wipes_the_longer_one() -> None:
    screen = Terminal()
    progress = Progress(1, screen)
    progress.begin("A rather long title of a step")
    progress.interrupt()
    progress.begin("Long again, this one, and more")
    progress.note("Short.")
    assert screen.getvalue().endswith("\rShort." + " " * (len("[2/1] Long again, this one, and more ...") - 6) + "\n")


def test_a_log_gets_few_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("installer.progress.time.monotonic", lambda: now)
    log = io.StringIO()
    progress = Progress(2, log)
    progress.begin("Building")
    for number in range(1, 601):  # a minute of updates, ten a second
        now = number / 10
        progress.update(f"{number}/600")
    progress.done()
    assert "\r" not in log.getvalue()
    assert log.getvalue().splitlines() == [
        "[1/2] Building ...",
        "[1/2] Building ... 200/600, 20 s",
        "[1/2] Building ... 400/600, 40 s",
        "[1/2] Building ... 600/600, 1 min 0 s",
        "[1/2] Building: done, 1 min 0 s",
    ]
