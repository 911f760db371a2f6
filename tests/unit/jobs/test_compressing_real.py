"""The whole way with the real child process: a tiny model is planned, compressed, measured and compared."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import msgspec
import pytest

from backend.api.compression import Answer, CompressionOptions, NewCompression, PlanCompression
from backend.api.schemas import Event, JobChanged
from backend.hub.local import LocalModels
from backend.jobs.compressing import Compressions
from backend.jobs.jobs import Jobs
from tests.fakes.server import hardware

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="compressing needs PyTorch")


@pytest.mark.timeout(600)
def test_from_a_plan_to_answers(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))
    builds = tmp_path / "builds"
    events: list[Event] = []

    async def main() -> None:
        jobs = Jobs(events.append)
        models = LocalModels(None, [builds], env={}, home=tmp_path)
        work = Compressions(models, jobs, builds, hardware, bandwidth=lambda _threads: 20e9)
        request = PlanCompression(path=str(tiny_gguf))
        plan = await work.plan(request)
        assert len(plan.positions) == 5
        # its layers are so narrow that AQLM's codebooks outweigh them
        assert all(one.bytes and one.disk and one.work_memory and one.seconds for one in plan.positions)
        options = CompressionOptions(tokens=2048, threads=1)
        job = await work.start(NewCompression(path=str(tiny_gguf), levels=["spqr-3"], options=options))
        job = await jobs.wait(job.id)
        assert job.state == "finished"
        [record] = (await work.status()).compressions
        assert record.result is not None
        assert record.result.measure_error is None
        measured = record.result.measured
        assert measured is not None
        assert 0.9 < measured.perplexity / measured.perplexity_reference < 1.3
        assert 0 < measured.kl_mean < 0.2
        assert [path.name for path in builds.glob("*.work")] == []
        [entry] = [one for one in await asyncio.to_thread(models.scan) if one.path == record.out]
        assert (entry.error, entry.bytes) == (None, record.result.bytes)
        compared = await jobs.wait((await work.compare(record.id, ["Hello"])).id)
        assert compared.result is not None
        [answer] = msgspec.convert(compared.result["answers"], list[Answer])
        assert answer.prompt == "Hello"
        await jobs.close()

    asyncio.run(main())
    moved = [event.job for event in events if isinstance(event, JobChanged) and event.job.compression is not None]
    errors = moved[-1].compression.errors  # type: ignore[union-attr]
    assert {(one.layer, one.module) for one in errors} >= {(0, "q_proj"), (1, "down_proj")}
    assert all(0 <= one.error < 1 for one in errors)
    assert {job.stage for job in moved} >= {"quantize", "measure"}
