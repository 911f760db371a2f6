# ruff: noqa: ASYNC240 - small files of the test's own
"""Compressions as jobs, over a child process that is real and whose work is scripted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from backend.api.compression import CompressionOptions, ExportBuild, NewCompression, PlanCompression
from backend.api.errors import ConflictError, InvalidRequestError, NotFoundError, NutshellError, PackagesMissingError
from backend.api.schemas import Event, Job, JobChanged, ModelEntry
from backend.jobs.compressing import Compressions
from backend.jobs.compression_child import run_child
from backend.jobs.jobs import Jobs
from backend.quantize.wire import Compress
from tests.fakes.server import FakeLocalModels, hardware

DEADLINE_S = 30.0
FAKE = (sys.executable, "-m", "tests.fakes.compression_child")
T = TypeVar("T")


def entry(name: str, **more: Any) -> ModelEntry:
    return ModelEntry(
        id=name.ljust(16, "0")[:16], name=name, path=f"/models/{name}.gguf", source="file", bytes=160_000_000,
        architecture="qwen2", parameters=80_000_000, quantization="F16", **more,
    )  # fmt: skip


GOOD, REFUSED, NONE, NARROW = entry("good"), entry("refuse"), entry("every"), entry("narrow")
PACKED = ModelEntry(
    id="p" * 16, name="packed", path="/models/packed.nutshell", source="file", bytes=1, architecture="qwen2"
)
ODD = ModelEntry(id="o" * 16, name="odd", path="/models/odd.gguf", source="file", bytes=1, architecture="mamba")


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.installed = True
        self.again()

    def again(self) -> None:
        """As another engine on the same folder."""
        self.jobs = Jobs(self.events.append, every_s=0.0)
        self.work = Compressions(
            FakeLocalModels(GOOD, REFUSED, NONE, NARROW, PACKED, ODD), self.jobs, self.folder, hardware, command=FAKE,
            installed=lambda: self.installed, bandwidth=lambda _threads: 20e9,
        )  # fmt: skip

    async def begin(self, name: str = "build", *, levels: tuple[str, ...] = ("aqlm-2x8",)) -> Job:
        return await self.work.start(NewCompression(id=GOOD.id, levels=list(levels), name=name))

    async def the_only(self) -> Any:
        [record] = (await self.work.status()).compressions
        return record

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
                await asyncio.sleep(0.005)

    def movements(self) -> list[Job]:
        return [event.job for event in self.events if isinstance(event, JobChanged) and event.job.compression]

    def children(self) -> list[psutil.Process]:
        return [
            one for one in psutil.Process().children() if "tests.fakes.compression_child" in " ".join(one.cmdline())
        ]


def run(folder: Path, test: Callable[[Bench], Awaitable[T]]) -> T:
    async def main() -> T:
        bench = Bench(folder / "builds")
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await test(bench)
            finally:
                await bench.jobs.close()

    return asyncio.run(main())


def test_a_build_is_made_measured_and_remembered(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job = await bench.jobs.wait((await bench.begin()).id)
        assert job.state == "finished"
        record = await bench.the_only()
        assert job.result == {"compression": record.id, "path": record.out}
        assert (record.state, record.job, record.name) == ("finished", None, "build")
        assert Path(record.out).read_bytes() == b"a build"
        assert Path(record.out).parent == bench.folder
        assert record.result.notes == ["went on from 0"]
        assert record.result.measured.perplexity_reference == 8.0
        errors = bench.movements()[-1].compression.errors  # type: ignore[union-attr]
        assert [point.layer for point in errors] == [0] * 4 + [1] * 4 + [2] * 4
        assert errors[3].module == "down_proj"
        assert errors[11].error == pytest.approx(0.12)
        assert {point.level for point in errors} == {"aqlm-2x8"}
        done = [job.done for job in bench.movements() if job.stage == "quantize"]
        assert done == sorted(done)
        bench.again()
        assert (await bench.the_only()).state == "finished"

    run(tmp_path, test)


def test_pause_keeps_the_work_and_resume_goes_on_from_it(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job = await bench.begin("slow one")
        await bench.until(lambda: len(bench.movements()) > 5)
        record = await bench.the_only()
        assert (record.state, record.job) == ("running", job.id)
        paused = await bench.work.pause(record.id)
        assert (paused.state, paused.done, paused.total) == ("paused", 5.0, 12.0)
        assert (await bench.jobs.wait(job.id)).state == "cancelled"
        assert not bench.children()
        job = await bench.jobs.wait((await bench.work.resume(record.id)).id)
        assert job.state == "finished"
        assert (await bench.the_only()).result.notes == ["went on from 5"]

    run(tmp_path, test)


def test_cancelling_deletes_the_work_folder_and_the_record(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.begin("slow one")
        await bench.until(lambda: len(bench.movements()) > 5)
        assert sorted(path.name for path in bench.folder.iterdir()) == [
            "slow one.nutshell.record.json", "slow one.nutshell.work",
        ]  # fmt: skip
        await bench.work.delete((await bench.the_only()).id)
        assert list(bench.folder.iterdir()) == []
        assert (await bench.work.status()).compressions == []

    run(tmp_path, test)


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        request = Compress(source="s", out=str(tmp_path / "stuck"), levels=["q8"], options=CompressionOptions())
        moved: list[object] = []
        with pytest.raises(NutshellError, match="stopped"):
            await run_child(FAKE, request, moved.append, lambda: len(moved) > 5, grace_s=0.0)
        assert not bench.children()

    run(tmp_path, test)


def test_deleting_a_finished_one_leaves_the_build(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.jobs.wait((await bench.begin()).id)
        await bench.work.delete((await bench.the_only()).id)
        assert [path.name for path in bench.folder.iterdir()] == ["build.nutshell"]

    run(tmp_path, test)


def test_one_whose_build_was_deleted_is_not_listed(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.jobs.wait((await bench.begin()).id)
        Path((await bench.the_only()).out).rename(tmp_path / "elsewhere.nutshell")
        assert (await bench.work.status()).compressions == []

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("name", "what", "details"),
    [
        ("crash", "stopped unexpectedly", "the last words"),
        ("refuse", "Layer 1 holds numbers that are none", ""),
        ("fault", "because of a fault", "what nobody foresaw"),
    ],
)
def test_a_failure_is_a_sentence_and_can_go_on(tmp_path: Path, name: str, what: str, details: str) -> None:
    async def test(bench: Bench) -> None:
        job = await bench.begin(name)
        with pytest.raises(NutshellError, match=what) as caught:
            await bench.jobs.wait(job.id)
        assert details in caught.value.details
        record = await bench.the_only()
        assert (record.state, record.done) == ("failed", 5.0)
        assert what in record.error.what
        job = await bench.jobs.wait((await bench.work.resume(record.id)).id)
        record = await bench.the_only()
        assert (job.state, record.state, record.error) == ("finished", "finished", None)

    run(tmp_path, test)


def test_a_build_that_cannot_be_measured_is_still_there(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        assert (await bench.jobs.wait((await bench.begin("hidden")).id)).state == "finished"
        result = (await bench.the_only()).result
        assert result.measured is None
        assert result.measure_error.what == "This build cannot be read."

    run(tmp_path, test)


def test_one_that_was_made_and_not_measured_is_not_made_again(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.jobs.wait((await bench.begin("hidden")).id)
        record = await bench.the_only()
        record.state = "interrupted"
        bench.work._records.save(record)
        await bench.jobs.wait((await bench.work.resume(record.id)).id)
        record = await bench.the_only()
        assert (record.state, record.result.notes) == ("finished", ["went on from 0"])
        assert not [job for job in bench.movements()[13:] if job.stage == "quantize"]

    run(tmp_path, test)


def test_an_engine_that_ended_leaves_an_interrupted_one_that_goes_on(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.begin("slow one")
        await bench.until(lambda: len(bench.movements()) > 5)
        await bench.jobs.close(grace_s=0.0)
        assert not bench.children()
        bench.again()
        record = await bench.the_only()
        assert (record.state, record.job) == ("interrupted", None)
        await bench.jobs.wait((await bench.work.resume(record.id)).id)
        assert (await bench.the_only()).result.notes == ["went on from 5"]

    run(tmp_path, test)


def test_a_record_of_a_killed_engine_is_interrupted_and_one_of_a_living_engine_is_not_touched(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.begin("slow one")
        await bench.until(lambda: len(bench.movements()) > 5)
        other = Bench(bench.folder)
        record = await other.the_only()
        assert record.state == "running"
        with pytest.raises(ConflictError, match="Another Nutshell"):
            await other.work.resume(record.id)
        with pytest.raises(ConflictError, match="Another Nutshell"):
            await other.work.delete(record.id)
        path = Path(record.out + ".record.json")
        text = path.read_text(encoding="utf-8")
        await bench.work.pause(record.id)
        path.write_text(text.replace(f'"pid":{psutil.Process().pid}', '"pid":999999999'), encoding="utf-8")
        assert (await other.the_only()).state == "interrupted"
        path.write_text(text[:-30], encoding="utf-8")
        assert (await other.work.status()).compressions == []

    run(tmp_path, test)


def test_a_record_cannot_have_other_folders_deleted(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        precious = tmp_path / "precious.work"
        precious.mkdir()
        await bench.begin("slow one")
        await bench.until(lambda: len(bench.movements()) > 5)
        record = await bench.work.pause((await bench.the_only()).id)
        path = Path(record.out + ".record.json")
        path.write_text(path.read_text(encoding="utf-8").replace(record.out, str(tmp_path / "precious")), "utf-8")
        await bench.work.delete(record.id)
        assert precious.is_dir()
        assert list(bench.folder.iterdir()) == []

    run(tmp_path, test)


def test_one_at_a_time_and_names_do_not_collide(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        first = await bench.begin("slow/../one")
        with pytest.raises(ConflictError, match="is being made"):
            await bench.begin("two")
        await bench.until(lambda: len(bench.movements()) > 5)
        record = await bench.the_only()
        assert Path(record.out).name == "slow_.._one.nutshell"
        assert (await bench.work.resume(record.id)).id == first.id
        await bench.work.pause(record.id)
        await bench.jobs.wait((await bench.begin("build")).id)
        await bench.jobs.wait((await bench.begin("build")).id)
        assert {path.name for path in bench.folder.glob("*.nutshell")} == {"build.nutshell", "build 2.nutshell"}

    run(tmp_path, test)


def test_comparing_gives_both_answers(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.jobs.wait((await bench.begin()).id)
        record = await bench.the_only()
        job = await bench.jobs.wait((await bench.work.compare(record.id, ["Why?"])).id)
        assert job.result == {
            "answers": [
                {"prompt": "Why?", "source": "Because.", "build": "Because of it.", "source_tok_s": 0.0,
                 "build_tok_s": 0.0}
            ]
        }  # fmt: skip

    run(tmp_path, test)


def test_an_export_ends_with_a_folder_or_a_sentence_and_leaves_the_way_free(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        def ask(out: str, form: Any = "hf-aqlm") -> ExportBuild:
            return ExportBuild(build="/models/a.nutshell", out=out, format=form)

        job = await bench.jobs.wait((await bench.work.export(ask("/models/out"))).id)
        assert job.result is not None
        assert (job.kind, job.result["path"], job.result["held"]) == ("export", "/models/out", 12)
        refused = await bench.work.export(ask("/models/out", "hf-spqr"))
        with pytest.raises(NutshellError, match="Export it as hf-aqlm"):
            await bench.jobs.wait(refused.id)
        slow = await bench.work.export(ask("/models/slow"))
        with pytest.raises(ConflictError, match="being exported"):
            await bench.begin()
        bench.jobs.cancel(slow.id)
        assert (await bench.jobs.wait(slow.id)).state == "cancelled"
        assert not bench.children()
        assert (await bench.jobs.wait((await bench.begin()).id)).state == "finished"

    run(tmp_path, test)


def test_a_plan_puts_each_level_beside_the_machine(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        plan = await bench.work.plan(PlanCompression(id=GOOD.id))
        assert [one.level for one in plan.positions] == ["aqlm-2x8", "aqlm-3x8", "spqr-3", "spqr-4", "q8"]
        sizes = [one.bytes for one in plan.positions]
        assert sizes == sorted(sizes)
        speeds = [one.tok_s for one in plan.positions]
        assert speeds[0] > speeds[-1] > 0
        assert plan.positions[0].loss_high > plan.positions[3].loss_high  # type: ignore[operator]
        # the machine of the fake has 16 bytes of memory
        assert {(one.verdict, one.limit) for one in plan.positions} == {("no", "run_memory")}
        assert plan.positions[0].needed > plan.positions[0].there
        narrow = await bench.work.plan(PlanCompression(id=NARROW.id))
        assert narrow.positions[4].limit == "unknown"

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (PACKED, InvalidRequestError, "compressed already"),
        (ODD, InvalidRequestError, "mamba"),
        (REFUSED, NutshellError, "3 tails"),
        (NONE, NutshellError, "Too narrow"),
    ],
)
def test_what_cannot_be_made_smaller_is_refused_with_the_reason(
    tmp_path: Path, model: ModelEntry, kind: type[NutshellError], words: str
) -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(kind) as caught:
            await bench.work.plan(PlanCompression(id=model.id))
        assert words in str(caught.value)

    run(tmp_path, test)


def test_the_sources_say_which_of_them_can_be_made_smaller(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        found = {one.entry.name: one.reason for one in await bench.work.sources()}
        assert {name for name, reason in found.items() if not reason} == {"good", "refuse", "every", "narrow"}
        assert (found["packed"], found["odd"]) == ("compressed", "architecture")

    run(tmp_path, test)


def test_without_the_packages_nothing_is_started_and_the_command_is_told(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.installed = False
        status = await bench.work.status()
        assert not status.installed
        assert status.command.endswith("-m installer add compression")
        assert status.packages_bytes > 500_000_000
        with pytest.raises(PackagesMissingError):
            await bench.begin()
        with pytest.raises(PackagesMissingError):
            await bench.work.plan(PlanCompression(id=GOOD.id))
        assert not bench.folder.exists()

    run(tmp_path, test)


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(InvalidRequestError, match="level"):
            await bench.begin(levels=("aqlm-9x9",))
        with pytest.raises(InvalidRequestError, match="No model"):
            await bench.work.start(NewCompression(levels=["q8"]))
        with pytest.raises(NotFoundError):
            await bench.work.resume("0" * 32)
        with pytest.raises(NotFoundError):
            await bench.work.delete("0" * 32)

    run(tmp_path, test)
