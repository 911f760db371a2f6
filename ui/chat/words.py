"""Figures and times in words, as they stand under an answer."""

from __future__ import annotations

import unicodedata

from PySide6.QtCore import QCoreApplication

from backend.api.schemas import Message, Sampling, TurnStats
from ui.viewmodels.words import error_words

__all__ = [
    "count",
    "cut_line",
    "guesses",
    "live_rate",
    "plain_name",
    "plan_line",
    "reading",
    "sampling_line",
    "seconds",
    "stats_line",
    "status_notice",
]


def _say(text: str) -> str:
    return QCoreApplication.translate("Chat", text)


def count(number: int) -> str:
    """1240 -> "1,240"."""
    return f"{number:,}"


def rate(tok_s: float) -> str:
    """24.31 -> "24 tok/s"; below ten one digit more."""
    figure = f"{tok_s:.0f}" if tok_s >= 10 else f"{tok_s:.1f}"
    return _say("{0} tok/s").format(figure)


def seconds(value: float) -> str:
    """0.412 -> "0.4 s"; 72 -> "1 min 12 s"."""
    if value >= 60:
        return _say("{0} min {1} s").format(int(value // 60), int(value % 60))
    if value >= 10:
        return _say("{0} s").format(f"{value:.0f}")
    return _say("{0} s").format(f"{value:.2f}" if value < 0.1 else f"{value:.1f}")


def stats_line(stats: TurnStats | None) -> str:
    """What an answer took, as "24 tok/s · 0.4 s to first token", and how it ended where that is not the usual way."""
    if stats is None or stats.completion_tokens <= 0:
        return ""
    parts = []
    if stats.tok_s > 0:
        parts.append(rate(stats.tok_s))
    if stats.ttft_s > 0:
        parts.append(_say("{0} to first token").format(seconds(stats.ttft_s)))
    if stats.finish_reason == "length":
        parts.append(_say("ended at the length limit"))
    elif stats.finish_reason == "context_full":
        parts.append(_say("ended because the context is full"))
    return " · ".join(parts)


def stats_details(stats: TurnStats) -> str:
    """Every figure of a turn, one a line, for a tooltip."""
    lines = [
        _say("{0} tokens of prompt, {1} of them already in memory").format(
            count(stats.prompt_tokens), count(stats.cached_tokens)
        ),
        _say("{0} tokens of answer in {1}").format(count(stats.completion_tokens), seconds(stats.total_s)),
    ]
    if stats.prefill_tok_s > 0:
        lines.append(_say("Prompt read at {0}").format(rate(stats.prefill_tok_s)))
    if stats.context_length > 0:
        lines.append(
            _say("{0} of {1} tokens of context used").format(count(stats.context_used), count(stats.context_length))
        )
    if told := guesses(stats.passes, stats.drafted, stats.accepted, stats.speedup):
        lines.append(told)
    lines.append(_say("Seed {0}").format(stats.seed))
    if stats.sampling is not None:
        lines.append(sampling_line(stats.sampling))
    if stats.threads > 0:
        lines.append(plan_line(stats))
    return "\n".join(lines)


def sampling_line(sampling: Sampling) -> str:
    """How tokens were chosen: "Temperature 0.7, top-k 40, top-p 0.95, min-p 0.05"; what does nothing is left out."""
    if sampling.temperature == 0:
        return _say("Always the likeliest token")
    parts = [_say("Temperature {0}").format(f"{sampling.temperature:g}")]
    if sampling.top_k > 0:
        parts.append(_say("top-k {0}").format(sampling.top_k))
    if sampling.top_p < 1:
        parts.append(_say("top-p {0}").format(f"{sampling.top_p:g}"))
    if sampling.min_p > 0:
        parts.append(_say("min-p {0}").format(f"{sampling.min_p:g}"))
    if sampling.repetition_penalty != 1:
        parts.append(_say("repetition penalty {0}").format(f"{sampling.repetition_penalty:g}"))
    return ", ".join(parts)


def plan_line(stats: TurnStats) -> str:
    """Where it was computed: "2 threads, 12 layers on the graphics processor, conversation kept with 8 bits"."""
    parts = [_say("{0} threads").format(stats.threads) if stats.threads > 1 else _say("1 thread")]
    if stats.gpu_layers > 0:
        parts.append(_say("{0} layers on the graphics processor").format(stats.gpu_layers))
    if stats.kv:
        bits = 8 if stats.kv == "q8" else 16
        parts.append(_say("conversation kept with {0} bits").format(bits))
    return ", ".join(parts)


def reading(done: int, total: int) -> str:
    """What is said while the prompt is read; total 0: it waits for another answer."""
    if total <= 0:
        return _say("Waiting for its turn")
    return _say("Reading {0} tokens… {1} %").format(count(total), min(100, 100 * done // total))


def live_rate(tokens: int, tok_s: float) -> str:
    """While the answer is written; nothing before there is a rate to speak of."""
    return rate(tok_s) if tokens > 1 and tok_s > 0 else ""


def guesses(passes: int, drafted: int, accepted: int, speedup: float) -> str:
    """What guessing ahead brings, as "2.3 tokens a pass · 71 % of guesses right · 1.6 × plain"; "" without guesses."""
    if not drafted or not passes:
        return ""
    parts = [
        _say("{0} tokens a pass").format(f"{(passes + accepted) / passes:.1f}"),
        _say("{0} % of guesses right").format(round(100 * accepted / drafted)),
    ]
    if speedup > 0:
        parts.append(_say("{0} × plain").format(f"{speedup:.1f}"))
    return " · ".join(parts)


def status_notice(message: Message) -> tuple[str, str, str]:
    """(sentences, word of the button or "", details) for an answer that did not end by itself; ("", "", "") else."""
    if message.status == "interrupted":
        details = message.error.details if message.error else ""
        text = _say("The engine stopped while answering. Your text is saved.")
        return text, _say("Continue the answer"), details
    if message.status == "failed":
        if message.error is None:
            return _say("This answer could not be finished."), _say("Try again"), ""
        return error_words(message.error), _say("Try again"), message.error.details
    return "", "", ""


def cut_line(policy: str, dropped: int) -> str:
    """Said where the context window was cut."""
    if policy == "drop_middle" and dropped == 1:
        return _say("1 message above this line was not shown to the model")
    if policy == "drop_middle":
        return _say("{0} messages above this line were not shown to the model").format(count(dropped))
    return _say("Earlier messages are not shown to the model from here up")


def plain_name(name: str) -> str:
    """A model's name for a heading: one line, nothing in it that turns the reading direction."""
    return "".join(c for c in " ".join(name.split()) if unicodedata.category(c) not in ("Cf", "Cc"))[:80]
