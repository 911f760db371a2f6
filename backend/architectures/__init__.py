"""Model architectures: one file for each `model_type` of a Hugging Face config.

Every file has the same four parts: `Args` (what it reads from the config; what it does not know it refuses by name),
`block` (one layer), `model` (records the forward pass as a `kernels.program.Program`), and `sanitize` (finds the
tensors under the names that checkpoints have for them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from backend.architectures import llama, mistral, qwen2, qwen3
from backend.architectures.args import CommonArgs
from backend.architectures.config import damaged, short, unsupported
from backend.architectures.weights import Tensors, Weights
from kernels.program import Program

__all__ = ["ARCHITECTURES", "Built", "CommonArgs", "Tensors", "build", "read_args"]

A = TypeVar("A", bound=CommonArgs)


@dataclass(frozen=True)
class Architecture(Generic[A]):
    """The parts of one file."""

    args: Callable[[Mapping[str, Any]], A]
    sanitize: Callable[[Tensors], Weights]
    model: Callable[[A, Weights], Program]


#: by `model_type`
ARCHITECTURES: Mapping[str, Architecture[Any]] = {
    "llama": Architecture(llama.Args.from_config, llama.sanitize, llama.model),
    "mistral": Architecture(mistral.Args.from_config, mistral.sanitize, mistral.model),
    "qwen2": Architecture(qwen2.Args.from_config, qwen2.sanitize, qwen2.model),
    "qwen3": Architecture(qwen3.Args.from_config, qwen3.sanitize, qwen3.model),
}


@dataclass(frozen=True)
class Built:
    """A model ready for an executor, and its sizes."""

    program: Program
    args: CommonArgs


def read_args(config: Mapping[str, Any]) -> CommonArgs:
    """The sizes that a config.json gives, before any tensor is looked at.

    Raises:
        UnsupportedModelError: an architecture or a setting that is not known, by its name.
        InvalidModelFileError: a setting that is missing or makes no sense.
    """
    args: CommonArgs = _architecture(config).args(config)
    return args


def build(checkpoint: Tensors) -> Built:
    """Records the forward pass of a checkpoint; its weights stay where they are.

    Raises:
        UnsupportedModelError: an architecture or a setting that is not known, by its name.
        InvalidModelFileError: a setting makes no sense, or a tensor is missing or has a wrong shape.
    """
    found = _architecture(checkpoint.config)
    args = found.args(checkpoint.config)
    weights = found.sanitize(checkpoint)
    program = found.model(args, weights)
    weights.finish()
    return Built(program, args)


def _architecture(config: Mapping[str, Any]) -> Architecture[Any]:
    name = config.get("model_type")
    if not isinstance(name, str) or not name:
        raise damaged("Its setting model_type is missing.")
    if name not in ARCHITECTURES:
        known = list(ARCHITECTURES)
        raise unsupported(
            f"Its architecture is {short(name)}, and only {', '.join(known[:-1])}, and {known[-1]} are known."
        )
    return ARCHITECTURES[name]
