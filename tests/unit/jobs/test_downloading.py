# ruff: noqa: ASYNC240 - small files of the test's own
"""Downloads as jobs, over the hub on loopback: queue, pause, crash, limit, what is deleted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from backend.api.downloads import Download, NewDownload
from backend.api.errors import ConflictError, NotFoundError, NutshellError
from backend.api.schemas import Event, Job
from backend.hub.network import Network
from backend.jobs.downloading import Downloads
from backend.jobs.jobs import Jobs
from tests.fakes.hub import COMMIT, FakeHub, Fault

REPO = "someone/tiny-GGUF"
FILE = "tiny-Q4_K_M.gguf"
CONTENT = random.Random(1).randbytes(4_000_000)
DEADLINE_S = 30.0


class Bench:
    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.events: list[Event] = []

    def again(self) -> None:
        """As another engine on the same folders."""
        self.jobs = Jobs(self.events.append, every_s=0.0)
        self.work = Downloads(
            self.jobs, self.folder / "records", root=self.folder / "hub", network=Network(silence_s=1.0)
        )

    async def begin(self, choice: str = "Q4_K_M") -> Job:
        return await self.work.start(NewDownload(repository=REPO, choice=choice))

    async def ended(self, job: Job) -> Job:
        with contextlib.suppress(NutshellError):
            await self.jobs.wait(job.id)
        return self.jobs.get(job.id)

    async def only(self) -> Download:
        (found,) = await self.work.list()
        return found

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        while not await holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.01)


def asynchronous(test: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], None]:
    """A test that runs on an event loop, for so long and no longer."""

    @functools.wraps(test)
    def run(bench: Bench) -> None:
        async def main() -> None:
            bench.again()
            async with asyncio.timeout(DEADLINE_S):
                try:
                    await test(bench)
                finally:
                    await bench.jobs.close()

        asyncio.run(main())

    return run


@pytest.fixture
def bench(hub: FakeHub, tmp_path: Path) -> Bench:
    hub.put(REPO, FILE, CONTENT)
    hub.put(REPO, "tiny-Q8_0.gguf", CONTENT[::-1])
    return Bench(hub, tmp_path)


def slowly(pause: float = 0.02) -> Fault:
    return Fault(drip=50_000, pause=pause)


@asynchronous
async def test_a_download_ends_as_a_model(bench: Bench) -> None:
    job = await bench.ended(await bench.begin())
    assert job.state == "finished"
    record = await bench.only()
    assert (record.state, record.done, record.commit) == ("finished", len(CONTENT), COMMIT)
    assert Path(record.path).read_bytes() == CONTENT
    assert job.result == {"download": record.id, "path": record.path}


@asynchronous
async def test_what_is_offered_says_what_is_here(bench: Bench) -> None:
    before = await bench.work.repository(REPO)
    assert [(one.name, one.here) for one in before.choices] == [("Q4_K_M", 0), ("Q8_0", 0)]
    await bench.ended(await bench.begin())
    after = await bench.work.repository(REPO)
    assert [(one.name, one.here) for one in after.choices] == [("Q4_K_M", len(CONTENT)), ("Q8_0", 0)]
    assert [one.repository for one in await bench.work.search("tiny")] == [REPO]


@asynchronous
async def test_a_name_that_means_nothing_or_several_is_a_sentence(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match="has no model"):
        await bench.begin("Q2_K")
    with pytest.raises(NotFoundError, match="Choose one of: Q4_K_M, Q8_0"):
        await bench.begin("q")


@asynchronous
async def test_pause_and_resume_fetch_nothing_twice(bench: Bench) -> None:
    bench.hub.faults[FILE].append(slowly())
    job = await bench.begin()
    await bench.until(lambda: _beyond(bench, 500_000))
    paused = await bench.work.pause((await bench.only()).id)
    assert (paused.state, (await bench.ended(job)).state) == ("paused", "cancelled")
    bench.again()
    resumed = await bench.ended(await bench.work.resume(paused.id))
    assert resumed.state == "finished"
    assert bench.hub.sent(FILE) <= len(CONTENT) + 2 * 50_000  # what was under way when it stopped


@asynchronous
async def test_the_job_s_own_cancel_is_a_pause(bench: Bench) -> None:
    bench.hub.faults[FILE].append(slowly())
    job = await bench.begin()
    await bench.until(lambda: _beyond(bench, 100_000))
    bench.jobs.cancel(job.id)
    assert (await bench.ended(job)).state == "cancelled"
    assert (await bench.only()).state == "paused"


@asynchronous
async def test_a_second_one_waits_and_may_leave_the_queue(bench: Bench) -> None:
    bench.hub.faults[FILE].append(slowly())
    first, second = await bench.begin(), await bench.begin("Q8_0")
    await bench.until(lambda: _beyond(bench, 100_000))
    states = {one.choice: one.state for one in await bench.work.list()}
    assert states == {"Q4_K_M": "running", "Q8_0": "queued"}
    waiting = next(one for one in await bench.work.list() if one.choice == "Q8_0")
    assert (await bench.work.pause(waiting.id)).state == "paused"
    third = await bench.work.resume(waiting.id)
    assert (await bench.ended(first)).state == "finished"
    assert (await bench.ended(second)).state == "cancelled"
    assert (await bench.ended(third)).state == "finished"


@asynchronous
async def test_asking_twice_is_one_download(bench: Bench) -> None:
    bench.hub.faults[FILE].append(slowly(0.005))
    first, second = await bench.begin(), await bench.begin()
    assert first.id == second.id
    assert (await bench.ended(first)).state == "finished"
    with pytest.raises(ConflictError, match="finished"):
        await bench.work.resume((await bench.only()).id)


@asynchronous
async def test_deleting_one_that_runs_leaves_nothing(bench: Bench) -> None:
    bench.hub.faults[FILE].append(slowly())
    job = await bench.begin()
    await bench.until(lambda: _beyond(bench, 100_000))
    await bench.work.delete((await bench.only()).id)
    assert (await bench.ended(job)).state == "cancelled"
    assert await bench.work.list() == []
    assert not list(bench.folder.rglob("*.incomplete"))


@asynchronous
async def test_a_failure_is_remembered_with_its_sentence(bench: Bench) -> None:
    bench.hub.faults[FILE].append(Fault(length=7))
    job = await bench.ended(await bench.begin())
    assert job.state == "failed"
    record = await bench.only()
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.code == "damaged_download"
    assert (await bench.ended(await bench.work.resume(record.id))).state == "finished"


@asynchronous
async def test_a_limit_slows_down(bench: Bench) -> None:
    bench.work.limit(8_000_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bench.ended(await bench.begin())
    assert loop.time() - began > 0.2  # 4 MB at 8 MB/s, a quarter of a second's worth of it at once


@asynchronous
async def test_records_that_cannot_be_read_are_left_out(bench: Bench) -> None:
    await bench.ended(await bench.begin())
    (bench.folder / "records" / ("0" * 32 + ".json")).write_text("{")
    (bench.folder / "records" / "../../evil.json").resolve().write_text("{}")
    assert len(await bench.work.list()) == 1
    with pytest.raises(NotFoundError):
        await bench.work.resume("../../evil")


async def _beyond(bench: Bench, count: int) -> bool:
    return any(one.done > count for one in await bench.work.list())


_CHILD = """
import asyncio, sys
from pathlib import Path
from backend.api.downloads import NewDownload
from backend.hub.network import Network
from backend.jobs.downloading import Downloads
from backend.jobs.jobs import Jobs

async def main() -> None:
    jobs = Jobs(lambda event: None)
    folder = Path(sys.argv[1])
    work = Downloads(jobs, folder / "records", root=folder / "hub", network=Network(silence_s=1.0))
    job = await work.start(NewDownload(repository=sys.argv[2], choice="Q4_K_M"))
    while jobs.get(job.id).ended_at is None:
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


@asynchronous
async def test_killed_at_ten_random_moments_it_goes_on_each_time(bench: Bench) -> None:
    dice = random.Random(5)
    for _ in range(10):
        bench.hub.faults[FILE].append(slowly(0.004))
        before = bench.hub.sent(FILE)
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(bench.folder), REPO])  # noqa: ASYNC220
        wanted = min(before + dice.randrange(1, 380_000), len(CONTENT) - 100_000)
        assert await asyncio.to_thread(bench.hub.wait_sent, FILE, wanted)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    record = await bench.only()
    assert record.state == "interrupted"
    bench.hub.faults[FILE].clear()
    assert (await bench.ended(await bench.work.resume(record.id))).state == "finished"
    finished = await bench.only()
    assert Path(finished.path).read_bytes() == CONTENT
    # of each killed process at most what lay in the sockets between it and the hub
    assert bench.hub.sent(FILE) <= len(CONTENT) + 10 * 2_500_000
    again = [int(one.range[6:-1]) for one in bench.hub.asked if one.range]
    assert again == sorted(again)  # it never starts over
    assert json.loads((bench.folder / "records" / f"{record.id}.json").read_text())["download"]["state"] == "finished"
