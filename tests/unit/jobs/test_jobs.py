from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backend.api.errors import ModelLoadError, NotFoundError, NutshellError
from backend.api.schemas import Event, Job, JobChanged
from backend.jobs.jobs import KEEP_ENDED, JobHandle, Jobs

DEADLINE_S = 10.0


class Recorder:
    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, event: Event) -> None:
        assert isinstance(event, JobChanged)
        self.jobs.append(event.job)

    @property
    def states(self) -> list[str]:
        return [job.state for job in self.jobs]


def run(test: Callable[[Jobs, Recorder], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with asyncio.timeout(DEADLINE_S):
            await test(Jobs(recorder, **options), recorder)

    asyncio.run(main())


def test_a_job_starts_moves_and_finishes_once() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def steps(handle: JobHandle) -> dict[str, object]:
            handle.progress("reading", 1, 4, "bytes")
            await asyncio.sleep(0)
            return {"answer": 42}

        job = jobs.start("kind", "Title", steps)
        assert job.state == "started"
        ended = await jobs.wait(job.id)
        assert ended.state == "finished"
        assert ended.result == {"answer": 42}
        assert ended.ended_at is not None
        assert (ended.stage, ended.done, ended.total, ended.unit) == ("reading", 1, 4, "bytes")
        assert told.states[0] == "started"
        assert told.states[-1] == "finished"
        assert sum(state in ("finished", "failed", "cancelled") for state in told.states) == 1

    run(test)


def test_a_failure_is_kept_and_raised_to_those_who_wait() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def steps(handle: JobHandle) -> None:
            raise ModelLoadError("No.", why="Because.", remedy="Do.", details="raw")

        job = jobs.start("kind", "Title", steps)
        with pytest.raises(ModelLoadError):
            await jobs.wait(job.id)
        assert told.states == ["started", "failed"]
        error = jobs.get(job.id).error
        assert error is not None
        assert (error.code, error.what, error.details) == ("model_load_failed", "No.", "raw")

    run(test)


def test_an_unforeseen_exception_becomes_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def steps(handle: JobHandle) -> None:
            raise ZeroDivisionError("oops")

        with pytest.raises(NutshellError, match="did not work") as caught:
            await jobs.wait(jobs.start("kind", "Loading it", steps).id)
        assert "oops" in caught.value.details
        assert "oops" not in str(caught.value)

    run(test)
    assert "oops" in caplog.text


def test_cancel_sets_the_flag_and_the_job_ends_as_cancelled() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        started = asyncio.Event()
        go_on = asyncio.Event()

        async def steps(handle: JobHandle) -> None:
            assert handle.progress("a")
            started.set()
            await go_on.wait()
            assert not handle.progress("b")
            raise NutshellError("Given up.")

        job = jobs.start("kind", "Title", steps)
        await started.wait()
        jobs.cancel(job.id)
        go_on.set()
        assert (await jobs.wait(job.id)).state == "cancelled"
        assert told.states[-1] == "cancelled"
        assert jobs.cancel(job.id).state == "cancelled"

    run(test)


def test_work_that_ends_well_in_spite_of_a_late_cancel_is_finished() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def steps(handle: JobHandle) -> None:
            handle.request_cancel()

        assert (await jobs.wait(jobs.start("kind", "Title", steps).id)).state == "finished"

    run(test)


def test_progress_from_another_thread_is_published_ten_times_a_second_at_most() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        loop = asyncio.get_running_loop()
        seconds = 0.5

        async def steps(handle: JobHandle) -> None:
            def busy() -> int:
                end = loop.time() + seconds
                count = 0
                pause = threading.Event()
                while loop.time() < end:
                    count += 1
                    handle.progress("reading", count, 0, "rows")
                    pause.wait(0.001)
                return count

            count = await asyncio.to_thread(busy)
            assert count > 50
            handle.progress("reading", 1e6)

        job = await jobs.wait(jobs.start("kind", "Title", steps).id)
        moves = [told_job for told_job in told.jobs if told_job.state == "progress"]
        assert 2 <= len(moves) <= seconds / 0.1 + 2
        assert [told_job.done for told_job in moves] == sorted(told_job.done for told_job in moves)
        assert job.done == 1e6, "the last progress is not lost"

    run(test)


def test_the_last_movement_before_a_long_silence_is_published() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        release = asyncio.Event()
        seen = asyncio.Event()

        async def steps(handle: JobHandle) -> None:
            handle.progress("one")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            handle.progress("two")
            await release.wait()

        original = told.__call__

        def watching(event: Event) -> None:
            original(event)
            if told.jobs[-1].stage == "two":
                seen.set()

        jobs._publish = watching
        job = jobs.start("kind", "Title", steps)
        await seen.wait()
        assert [told_job.stage for told_job in told.jobs] == ["", "one", "two"]
        release.set()
        await jobs.wait(job.id)

    run(test, every_s=0.05)


def test_close_ends_everything_also_what_does_not_listen() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def deaf(handle: JobHandle) -> None:
            await asyncio.Event().wait()

        job = jobs.start("kind", "Title", deaf)
        await jobs.close(grace_s=0.01)
        assert jobs.get(job.id).state == "cancelled"
        assert told.states[-1] == "cancelled"

    run(test)


def test_unknown_jobs_are_refused_and_old_ones_forgotten() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def steps(handle: JobHandle) -> None:
            return None

        with pytest.raises(NotFoundError):
            jobs.get("nope")
        first = jobs.start("kind", "0", steps)
        for index in range(KEEP_ENDED + 5):
            await jobs.wait(jobs.start("kind", str(index), steps).id)
        assert len(jobs.list()) <= KEEP_ENDED + 1
        with pytest.raises(NotFoundError):
            jobs.get(first.id)

    run(test)


def test_what_is_handed_out_is_a_copy() -> None:
    async def test(jobs: Jobs, told: Recorder) -> None:
        async def steps(handle: JobHandle) -> None:
            return None

        job = jobs.start("kind", "Title", steps)
        job.title = "changed"
        assert jobs.get(job.id).title == "Title"
        await jobs.wait(job.id)
        assert told.jobs[0].state == "started", "an event says what was true when it was sent"

    run(test)
