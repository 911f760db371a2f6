"""What the way to a first model says."""

from __future__ import annotations

import math

from PySide6.QtCore import QCoreApplication

from backend.api.downloads import BuildIdea, Figure, Recommendation
from backend.api.plan_schemas import ModelTrial
from ui.viewmodels.words import count, parameters, rate, size

__all__ = ["facts", "figure_words", "idea_words", "purposes", "reason", "trial_words"]

#: tokens a second: as fast as people read
_READING = 6.0


def _tr(text: str) -> str:
    return QCoreApplication.translate("recommend", text)


def purposes() -> list[tuple[str, str, str]]:
    """(purpose, what it is called, what it means), in the order in which they are asked."""
    return [
        ("chat", _tr("Talk and write"), _tr("Questions, letters, ideas, summaries.")),
        ("code", _tr("Write programs"), _tr("Explain, change and complete code.")),
        (
            "reason",
            _tr("Think hard things through"),
            _tr("It thinks aloud first. Slower, better at puzzles and maths."),
        ),
        ("languages", _tr("Use other languages than English"), _tr("Talk and translate in many languages.")),
        ("files", _tr("Ask about my files"), _tr("It can hold long texts: reports, papers, notes.")),
    ]


def reason(one: Recommendation) -> str:
    """Why it is one of the few, in a sentence."""
    return {
        "best": _tr("The best for this on this machine that writes as fast as you read."),
        "lighter": _tr("Lighter: it answers sooner and leaves more memory to other programs."),
        "quick": _tr("Quick: it writes faster than you can read."),
        "alike": _tr("Another one that suits this, to compare it with."),
        "slow": _tr("It fits, but writes slower than you read."),
    }[one.reason]


def facts(one: Recommendation) -> str:
    """What it is: numbers, bits, context, licence."""
    offer = one.offer
    words = [
        _tr("{0} parameters of {1} bits").format(parameters(offer.parameters), f"{one.bits:.1f}"),
        _tr("reads up to {0} tokens").format(count(offer.context)),
        _tr("licence {0}").format(offer.licence),
    ]
    return " · ".join(words)


def figure_words(figure: Figure) -> str:
    """A published figure: "Published: WikiText2 perplexity 3.94 (3.12 uncompressed)"."""
    value = _tr("Published: {0} {1}").format(figure.metric, f"{figure.value:g}")
    if figure.original is not None:
        value = _tr("{0} ({1} uncompressed)").format(value, f"{figure.original:g}")
    return value


def idea_words(idea: BuildIdea) -> str:
    """What could be made here, and what it would take."""
    return _tr(
        "{0} would say more than these, but there is no build of it that fits. Nutshell can make one on this machine: "
        "it takes {1} of memory and writes about {2} tokens a second. First it has to be downloaded in full, "
        "about {3}, and then made smaller, which takes from minutes to some hours."
    ).format(idea.name, size(idea.ram), rate(idea.tokens), size(idea.source_bytes))


def trial_words(trial: ModelTrial) -> str:
    """How fast it was, beside what was expected."""
    measured = _tr("It writes {0} tokens a second.").format(rate(trial.tok_s))
    if trial.tok_s <= 0:
        return _tr("It ended before its speed could be measured.")
    if not 0 < trial.expected < math.inf:
        return measured
    between = _tr("Between {0} and {1} were expected.").format(rate(trial.low), rate(trial.high))
    if trial.low <= trial.tok_s <= trial.high:
        return f"{measured} {between}"
    if trial.tok_s > trial.high:
        return f"{measured} {between} " + _tr("It is faster.")
    slow = _tr("It is slower: other programs may be using the processor, or the model was just read from the disk.")
    tip = "" if trial.tok_s >= _READING else " " + _tr("If it stays so, choose a lighter one.")
    return f"{measured} {between} {slow}{tip}"
