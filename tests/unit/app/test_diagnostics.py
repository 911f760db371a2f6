"""What can be told to others: useful, and without a word, a name or a path of the person's."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.diagnostics import describe, harmless
from backend.config.paths import Paths, paths
from backend.config.settings import Settings
from tests.fakes.client import FakeClient, fake_loaded

SECRET = ("Dear Martha, about the divorce", "Divorce plans", "/home/martha", "C:\\Users\\martha", "hf_abcdefgh12345678",
          "sk-verysecret12345", "marthas-model", "garden.txt", "10.0.0.7")  # fmt: skip

LOG = f"""\
2026-01-31 12:00:00,123 WARNING 4242 nutshell.window: the engine died: The engine crashed inside the model code.
2026-01-31 12:00:01,123 INFO    4242 nutshell.window: {SECRET[0]}
2026-01-31 12:00:02,123 ERROR   4242 nutshell.window: a fault in the window: {SECRET[0]} in {SECRET[2]}/x [disk_full]
Traceback (most recent call last):
  File "{Path(__file__).resolve().parents[3]}/app/desktop.py", line 120, in run
    raise ValueError("{SECRET[0]}")
  File "{SECRET[2]}/app/desktop.py", line 12, in divorce_plans
  File "/usr/lib/python3.11/{SECRET[7]}", line 7, in thing
ValueError: {SECRET[0]}
backend.api.errors.DiskFullError: {SECRET[1]}
DivorcePlansError: {SECRET[1]}
2026-01-31 12:00:03,123 ERROR   4242 nutshell.api: {SECRET[4]} {SECRET[5]} {SECRET[3]} [divorce_plans]
2026-01-31 12:00:03,123 WARNING 4242 nutshell.window: the engine died: {SECRET[0]}
[supervisor 2026-01-31 12:00:04] no answer to a health check (2): OSError('{SECRET[2]}')
llama_model_load: error loading model: {SECRET[2]}/{SECRET[6]}.gguf
{SECRET[0]}
llama_{SECRET[1]}
"""


@pytest.fixture
def where(tmp_path: Path) -> Paths:
    made = paths()._replace(data=tmp_path, logs=tmp_path / "logs")
    made.logs.mkdir()
    for name in ("engine", "window"):
        (made.logs / f"{name}.log").write_text(LOG, "utf-8")
    return made


def test_log_lines_keep_when_where_and_which_kind() -> None:
    assert list(harmless(LOG.splitlines())) == [
        "2026-01-31 12:00:00 WARNING nutshell.window: The engine crashed inside the model code.",
        "2026-01-31 12:00:02 ERROR nutshell.window: disk_full",
        "    app/desktop.py:120 in run",
        "  ValueError",
        "  DiskFullError",
        "2026-01-31 12:00:03 ERROR nutshell.api",
        "2026-01-31 12:00:03 WARNING nutshell.window",
        "2026-01-31 12:00:04 no answer to a health check (2)",
        "  llama_model_load",
    ]


async def report(model_name: str) -> object:
    loaded = fake_loaded()
    loaded.entry.name, loaded.entry.path, loaded.entry.id = model_name, f"{SECRET[2]}/{model_name}.gguf", model_name
    made = await FakeClient(loaded=loaded).hardware()
    made.disk.path = SECRET[2]
    return made


def test_nothing_private_gets_in(where: Paths) -> None:
    import asyncio

    settings = Settings.load(where.settings)
    settings.set("api_key", SECRET[5])
    settings.set("last_model", f"{SECRET[2]}/{SECRET[6]}.gguf")
    settings.set("draft_model", f"{SECRET[2]}/{SECRET[6]}.gguf")
    settings.set("new_chat_draft", SECRET[0])
    settings.set("zoom", 1.25)
    settings.set("kv", "q8")
    told = describe(settings, where, asyncio.run(report(SECRET[6])), qt="6.8 on xcb", state="ready")  # type: ignore[arg-type]
    for secret in (*SECRET, "martha", "Martha", "ivorce", str(Path.home()), str(where.logs)):
        assert secret not in told
    for useful in ("zoom = 1.25", "kv = q8", "last_model = set", "llama Q4_1", "AVX-512 VNNI", "Qt: 6.8 on xcb",
                   "app/desktop.py:120 in run", "Engine: ready"):  # fmt: skip
        assert useful in told


def test_it_tells_of_a_program_without_logs_and_engine(tmp_path: Path) -> None:
    where = paths()._replace(data=tmp_path, logs=tmp_path / "none")
    told = describe(Settings.load(tmp_path / "settings.json"), where, None)
    assert told.count("none") == 3
