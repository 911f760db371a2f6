"""What was said to fit is not killed in a control group that has no more memory than was stated."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from backend.api.client import Client
from backend.api.errors import NutshellError
from backend.api.schemas import LoadModel
from backend.planner.machine import this_machine
from backend.planner.memory import KvType
from backend.planner.plan import Wishes, plan
from backend.planner.subject import subject_of_file

MB = 1 << 20
_ANSWER, _SPARE = 16, 24
DEADLINE_S = 60.0


class Group:
    """A memory group below that of this process, of either version of the interface."""

    def __init__(self) -> None:
        self.folder, self._limit = _place()
        self.folder.mkdir()

    def limit(self, size: int) -> None:
        """Swapping would hide what does not fit."""
        (self.folder / self._limit).write_text(str(size))
        for name, value in (("memory.swap.max", "0"), ("memory.memsw.limit_in_bytes", str(size))):
            if (self.folder / name).exists():
                (self.folder / name).write_text(value)

    def close(self) -> None:
        """With all that is still in it: a process that was killed leaves its own children behind."""
        left = [psutil.Process(int(pid)) for pid in (self.folder / "cgroup.procs").read_text().split()]
        for process in left:
            process.kill()
        psutil.wait_procs(left, DEADLINE_S)
        self.folder.rmdir()


def _place() -> tuple[Path, str]:
    """(folder, name of the limit) for a new group. Raises OSError where none can be made."""
    root, name = Path("/sys/fs/cgroup"), f"nutshell-test-{uuid.uuid4().hex[:8]}"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return root / "memory" / path.lstrip("/") / name, "memory.limit_in_bytes"
        if not controllers and "memory" in (root / "cgroup.subtree_control").read_text().split():
            return root / name, "memory.max"
    raise OSError("no control group for memory")


@pytest.fixture
def group() -> Iterator[Group]:
    try:
        made = Group()
        made.limit(1 << 40)
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    yield made
    made.close()


@contextmanager
def engine_in(group: Group, folder: Path) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "NUTSHELL_DATA_DIR": str(folder / "data"), "NUTSHELL_CACHE_DIR": str(folder / "cache")}
    enter = f'echo $$ > "{group.folder}/cgroup.procs" && exec "$@"'
    with subprocess.Popen(
        ["sh", "-c", enter, "sh", sys.executable, "-m", "backend.api"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE_S)


async def _talk(process: subprocess.Popen[str], path: Path, context: int, kv: KvType) -> int:
    """Loads, fills the context, answers; tokens of the answer."""
    assert process.stdout is not None
    shake = json.loads(await asyncio.to_thread(process.stdout.readline))
    url, token = f"http://127.0.0.1:{shake['port']}", shake["token"]
    async with Client(url, token) as client:
        # One thread: two of llama.cpp's on one free core wait for each other more than they work.
        options = LoadModel(path=str(path), n_ctx=context, kv=kv, speculation="off", n_threads=1)
        await client.wait_for_job(await client.load_model(options))
    prompt = " the" * (context - _ANSWER - _SPARE)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=DEADLINE_S, trust_env=False) as http:
        body = {"prompt": prompt, "max_tokens": _ANSWER, "temperature": 0.0}
        reply = (await http.post("/v1/completions", json=body)).raise_for_status()
        return int(reply.json()["usage"]["completion_tokens"])


def stated(path: Path, context: int, kv: KvType) -> int:
    """Bytes that a plan says it takes on a machine in which it fits."""
    machine = replace(this_machine(path.parent), memory_free=8 << 30)
    found = plan(subject_of_file(path), machine, Wishes(context=context, kv=kv))
    assert found.verdict == "fits"
    return found.ram


CASES: list[tuple[str, int, KvType]] = [
    ("native", 512, "f16"), ("native", 4096, "f16"), ("native", 4096, "q8"), ("llama.cpp", 512, "f16"),
    ("llama.cpp", 2048, "f16"), ("llama.cpp", 2048, "q8"),
]  # fmt: skip


@pytest.mark.model
@pytest.mark.parametrize(("which", "context", "kv"), CASES)
def test_what_fits_is_not_killed(
    which: str, context: int, kv: KvType, group: Group, smollm2: Path, smollm2_pack: Path, tmp_path: Path
) -> None:
    path = smollm2_pack if which == "native" else smollm2
    group.limit(stated(path, context, kv))
    with engine_in(group, tmp_path) as process:
        assert asyncio.run(_talk(process, path, context, kv)) > 0
        assert process.poll() is None


@pytest.mark.model
def test_the_limit_is_one(group: Group, smollm2_pack: Path, tmp_path: Path) -> None:
    group.limit(64 * MB)
    with engine_in(group, tmp_path) as process:
        with pytest.raises((NutshellError, httpx.HTTPError, json.JSONDecodeError)):
            asyncio.run(_talk(process, smollm2_pack, 4096, "f16"))
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
