"""What of a model goes to a graphics card: as much as there is room for, or all of it through a ring.

llama.cpp computes where a layer's weights lie: so many of the last layers on the card, the head with them, the others
on the processor. Our engine computes all of it in one place. Where the card cannot hold a whole model, its weights wait
in the machine's memory and are sent through the card in every pass (`kernels.cuda.ring`). That is as slow as the link,
and as fast for a tree of guesses as for one token.

No card was at hand: what a card holds is arithmetic over `kernels.cuda`, and rates are what data sheets say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backend.planner.memory import Memory, kv_bytes
from backend.planner.subject import Subject

__all__ = ["Card", "on_card", "to_load"]

#: as `backend.engine.native_cuda.MARGIN`, and for the context that a driver makes for a process
_MARGIN: Final = 1.15
#: bytes of a number on the card where a scheme has no kernel there (q8, q4, the embedding and the head)
_PLAIN: Final = 2
#: SpQR takes more there than in our files: second-level statistics of four bytes, outliers of eight
#: (`kernels.cuda.spqr`): 4.5 bits a weight for 3.83.
_SPQR: Final = 1.18
#: of a layer, what the ring takes: three times the widest linears of one input
_RING: Final = 2.0


@dataclass(frozen=True, slots=True)
class Card:
    """Of one model.

    Attributes:
        layers: worth of weights that stay on the card.
        bytes: that it takes there.
        read: of the weights there, for one token.
        link: of the weights, sent there in every pass: the card computes all layers then, and else its own.
    """

    layers: int = 0
    bytes: int = 0
    read: int = 0
    link: int = 0


def on_card(subject: Subject, memory: Memory, context: int, *, gpu_free: int, cuda_free: int) -> Card:
    """What would go to the card.

    Args:
        subject: the model.
        memory: it needs.
        context: cells of the cache; our engine stores 16 bits a number there.
        gpu_free: bytes of a card that llama.cpp can use.
        cuda_free: of one that our engine can use.
    """
    weights, layers = subject.weights, max(subject.architecture.layers, 1)
    if subject.engine == "llama.cpp":
        room, count, taken = gpu_free / _MARGIN - memory.compute - weights.head, 0, weights.head
        for size in reversed(weights.layers):
            taken += size + memory.kv // layers
            if taken - weights.head > room:
                break
            count += 1
        there = weights.head + sum(weights.layers[layers - count :])
        read = weights.head + round((there - weights.head) * weights.active)
        return Card(count, there + count * (memory.kv // layers), read) if count else Card()
    each, tables = _there(subject)
    besides = tables + kv_bytes(subject.architecture, context, "f16", "native") + memory.compute
    room = cuda_free / _MARGIN - besides
    if room >= layers * each:
        return Card(layers, besides + layers * each, weights.per_token)
    stay = int(room / max(each, 1) - _RING)
    if stay < 0:
        return Card()
    return Card(stay, besides + round((stay + _RING) * each), weights.per_token, (layers - stay) * each)


def to_load(card: Card, subject: Subject) -> int:
    """`n_gpu_layers` that has it so: llama.cpp counts the head as one, and takes it first."""
    return card.layers + (1 if subject.engine == "llama.cpp" and card.layers else 0)


def _there(subject: Subject) -> tuple[int, int]:
    """Bytes of one layer on the card, and of embedding and head."""
    look = subject.architecture
    tables = look.vocab_size * look.hidden_size * (1 if look.tied else 2)
    if subject.scheme.startswith(("aqlm-", "spqr-")):
        layer = sum(subject.weights.layers) / max(look.layers, 1)
        layer *= _SPQR if subject.scheme.startswith("spqr-") else 1.0
    else:
        layer = (look.parameters - tables) * _PLAIN / max(look.layers, 1)
    return round(layer), tables * _PLAIN
