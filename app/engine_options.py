"""What the engine process of the window is started with: the user's settings and the model."""

from __future__ import annotations

from pathlib import Path

from backend.config.settings import Settings

__all__ = ["engine_arguments", "engine_environment"]


def engine_arguments(settings: Settings, model: Path | None, *, serve: bool = True) -> list[str]:
    """The command line. With `serve` False other programs get nothing, whatever the settings say."""
    arguments = []
    if settings.n_ctx:
        arguments += ["--n-ctx", str(settings.n_ctx)]
    if settings.n_threads:
        arguments += ["--n-threads", str(settings.n_threads)]
    if settings.kv != "f16":
        arguments += ["--kv", settings.kv]
    if settings.speculation != "auto":
        arguments += ["--speculation", settings.speculation, "--draft-nodes", str(settings.draft_nodes)]
    if settings.draft_model:
        arguments += ["--draft-model", settings.draft_model]
    if settings.memory_budget:
        arguments += ["--memory-budget", str(settings.memory_budget << 20)]
    if serve and settings.serve_enabled:
        arguments += ["--serve", "--port", str(settings.serve_port)]
    if model is not None:
        arguments += ["--model", str(model)]
    return arguments


def engine_environment(settings: Settings) -> dict[str, str]:
    """The key for other programs: in the environment, because every user of a machine can read command lines."""
    return {"NUTSHELL_API_KEY": settings.api_key} if settings.serve_enabled and settings.api_key else {}
