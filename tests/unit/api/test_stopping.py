from __future__ import annotations

import asyncio
import threading

import pytest

from backend.api.stopping import StopSwitch

DEADLINE_S = 5.0


def test_the_deadline_ends_what_does_not_end_itself(caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()
    stop = StopSwitch(deadline_s=0.05, give_up=ended.set)
    assert not stop.requested
    stop.request("a test")
    assert ended.wait(DEADLINE_S)
    assert "did not end" in caplog.text


def test_a_request_before_there_is_a_loop_counts() -> None:
    stop = StopSwitch(deadline_s=DEADLINE_S, give_up=lambda: None)
    stop.request("early")

    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await stop.wait()

    asyncio.run(main())


def test_a_request_from_another_thread_wakes_the_loop_once() -> None:
    ends: list[str] = []
    stop = StopSwitch(deadline_s=0.05, give_up=lambda: ends.append("end"))

    async def main() -> None:
        waiting = asyncio.create_task(stop.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        for _ in range(3):
            await asyncio.to_thread(stop.request, "again")
        async with asyncio.timeout(DEADLINE_S):
            await waiting

    asyncio.run(main())
    stop._watcher.join(DEADLINE_S)  # type: ignore[union-attr]
    assert ends == ["end"], "one clock, however often it is asked"
