"""Seconds of a pass: bytes over the bandwidth of the tier that holds them, and what does not wait for bytes."""

from __future__ import annotations

from dataclasses import dataclass

from backend.planner.architecture import Architecture
from backend.planner.memory import Engine, KvType

__all__ = [
    "Rates",
    "Speed",
    "attention_of_prompt",
    "besides_reading",
    "link_seconds",
    "pass_seconds",
    "prompt_seconds",
    "speed",
]

#: Predictions before anything was measured on this machine: the machine may be a third slower or a quarter faster.
_LOW, _HIGH = 0.67, 1.25
#: And after a run of the same scheme.
_LOW_MEASURED, _HIGH_MEASURED = 0.8, 1.2
#: Multiplications of a core in a second in prefill, attention apart; prompts of 440 to 4,024 tokens, two threads. Ours:
#: 78e9 to 105e9 (0.1B q8, 0.5B and 1.5B AQLM 2x8; Zen 4 and 5, AVX-512). llama.cpp: 0.5B and 1.5B Q4_K_M 54e9 and 59e9.
_CORE: dict[Engine, float] = {"llama.cpp": 55e9, "native": 95e9}
#: Types of llama.cpp that have no way of their own through many rows: Q4_1 18e9 to 21e9.
_SLOW, _SLOW_CORE = ("Q4_1", "Q5_1"), 20e9
#: Seconds of a thread for each number of a query, cell and layer in the same prompts: ours 0.048 to 0.072 with 16 bits
#: or 8, llama.cpp 0.157 to 0.216, and 0.58 with 8 bits beside 0.216.
_ATTENTION: dict[Engine, float] = {"llama.cpp": 0.16e-9, "native": 0.055e-9}
_ATTENTION_Q8 = 3.0
#: On a processor: seconds for each layer, and of a thread for each number of a query, cell and layer.
#: llama.cpp, one node at a time, 64 to 4,000 cells, two threads: 8.4 to 18.7 ms (0.1B), 19.6 to 36.0 (0.5B), 32.1 to
#: 57.0 (1.5B), which is 0.30, 0.38 and 0.29 ns, where the bytes of the cache alone would say 8.4 to 10.6, 19.6 to 20.9
#: and 32.1 to 34.9. Ours, from 512 to 4,096 cells: 0.079 to 0.13, 0.075 and 0.074 ns with 16 bits or 8, and what
#: AQLM 2x8 of 0.5B (8.1 and 8.9 ms) and 1.5B (21.0 and 24.9) leave for a layer: 0.09 and 0.06 ms on Zen 5 and Zen 4.
_BESIDES: dict[Engine, tuple[float, float]] = {"llama.cpp": (0.11e-3, 0.31e-9), "native": (0.07e-3, 0.08e-9)}
#: And with keys and values of 8 bits, which are unpacked for each query: 1.46 times (0.1B), 1.76 (0.5B), 1.26 and 1.69
#: (1.5B), of 64 to 2,500 cells.
_Q8 = 1.5


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second of each tier, 0 where there is none; `fixed` seconds that a pass takes besides.

    `link`: to the card. `slower`: what multiplying takes here, in times of `arithmetic.core_seconds`.
    """

    ram: float
    gpu: float = 0.0
    disk: float = 0.0
    fixed: float = 0.0004
    slower: float = 1.0
    link: float = 0.0


@dataclass(frozen=True, slots=True)
class Speed:
    """What is expected, with a range; `prefill` in tokens a second, `first` in seconds until the first token."""

    tokens: float
    low: float
    high: float
    prefill: float
    first: float


def pass_seconds(ram: int, gpu: int, disk: int, rates: Rates, multiplying: float = 0.0) -> float:
    """Of a pass over so many bytes in each tier, one after another; infinite where a tier does not exist.

    Args:
        ram: bytes.
        gpu: bytes.
        disk: bytes.
        rates: of the tiers.
        multiplying: seconds for what is in RAM (`Weights.multiplied` over the threads), which goes on while it is read.
    """
    total = rates.fixed
    for size, rate, least in ((ram, rates.ram, multiplying * rates.slower), (gpu, rates.gpu, 0), (disk, rates.disk, 0)):
        if size:
            if rate <= 0:
                return float("inf")
            total += max(size / rate, least)
    return total


def link_seconds(sent: int, rates: Rates) -> float:
    """Of sending so many bytes to the card, which goes on while it computes."""
    return 0.0 if not sent else sent / rates.link if rates.link > 0 else float("inf")


def besides_reading(
    architecture: Architecture, engine: Engine, cells: float, threads: int, layers: int, kv: KvType = "f16"
) -> float:
    """Seconds of a pass of one token that are not spent reading, on the processor.

    Args:
        architecture: of the model.
        engine: which.
        cells: of the cache that are attended to, of all layers together.
        threads: that compute.
        layers: on the processor; those on a card take none of its time.
        kv: of the cache.
    """
    of_layer, number = _BESIDES[engine]
    share = layers / max(architecture.layers, 1)
    number *= _Q8 if engine == "llama.cpp" and kv != "f16" else 1.0
    return layers * of_layer + share * cells * architecture.q_width * number / max(threads, 1)


def attention_of_prompt(architecture: Architecture, engine: Engine, prompt: int, threads: int, kv: KvType) -> float:
    """Seconds of attention while a prompt of so many tokens is read into an empty cache, on the processor."""
    number = _ATTENTION[engine] * (_ATTENTION_Q8 if engine == "llama.cpp" and kv != "f16" else 1.0)
    return prompt * prompt / 2 * architecture.q_width * architecture.layers * number / max(threads, 1)


def prompt_seconds(
    architecture: Architecture,
    engine: Engine,
    prompt: int,
    threads: int,
    *,
    kv: KvType = "f16",
    core: float = 0.0,
    scheme: str = "",
) -> float:
    """Of reading a prompt on the processor.

    Args:
        architecture: of the model.
        engine: which runs it.
        prompt: tokens.
        threads: that compute.
        kv: of the cache.
        core: multiplications a second of a core, where that was measured; 0: the usual.
        scheme: of the weights.
    """
    core = core or (_SLOW_CORE if scheme in _SLOW else _CORE[engine])
    linears = prompt * architecture.active / (core * max(threads, 1))
    return linears + attention_of_prompt(architecture, engine, prompt, threads, kv)


def speed(
    seconds: float,
    *,
    prompt: int = 512,
    prompt_s: float,
    tokens_per_pass: float = 1.0,
    cost: float = 1.0,
    measured: bool = False,
) -> Speed:
    """Tokens a second of decoding and prefill.

    Args:
        seconds: of a pass of one token.
        prompt: tokens of the text before the first answer.
        prompt_s: seconds that reading it takes.
        tokens_per_pass: that come out of one pass with speculation; 1 without.
        cost: of such a pass in plain passes, the draft's own included.
        measured: the seconds follow from a run of this scheme on this machine, and the range is narrower.
    """
    rate = tokens_per_pass / (seconds * cost) if seconds > 0 else 0.0
    first = min(prompt_s, prompt * seconds) if seconds > 0 else prompt_s  # never slower than token by token
    low, high = (_LOW_MEASURED, _HIGH_MEASURED) if measured else (_LOW, _HIGH)
    return Speed(rate, rate * low, rate * high, prompt / first if first > 0 else float("inf"), first)
