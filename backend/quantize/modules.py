"""What every packer does before and around its work: which linears there are, and what is refused."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.api.errors import ConflictError, DiskFullError, InvalidRequestError, StorageError, UnsupportedModelError
from backend.architectures import CommonArgs
from backend.formats.checkpoint import Checkpoint
from backend.quantize.recipes import Recipe, dense_rows
from kernels.packing import dense

__all__ = ["Job", "check_out", "jobs_of", "linear_shapes", "refuse_packed", "storage_error"]

#: rows of tables that are compared
_COMPARED = 1024


@dataclass(frozen=True, slots=True)
class Job:
    """A linear that is to be packed.

    Attributes:
        module: its name in the build. source: its name in the checkpoint, which may be another's where tables are tied.
        recipe: how it is stored.
    """

    module: str
    source: str
    recipe: Recipe
    out_features: int
    in_features: int

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.out_features * self.in_features


def jobs_of(checkpoint: Checkpoint, args: CommonArgs, recipe: Recipe, roles: Mapping[str, Recipe]) -> list[Job]:
    """Every linear with its recipe; a head that shares the embedding's table only where it shall be stored otherwise.

    Raises:
        UnsupportedModelError: a linear that no known architecture has.
    """
    shapes = linear_shapes(args)
    modules = {module: module for module in checkpoint.linears()}
    table = next((module for module in modules if module.endswith("embed_tokens")), "")
    if args.tie_word_embeddings or "lm_head" not in modules or _same_table(checkpoint, table):
        # of two copies the head's is the better one: llama.cpp stores it with more bits
        table = modules.pop("lm_head", table)
        modules = {module: table if source.endswith("embed_tokens") else source for module, source in modules.items()}
        if table and roles["lm_head"] != roles["embed_tokens"]:
            modules["lm_head"] = table
    jobs = []
    for module, source in sorted(modules.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])]):
        kind = module.rpartition(".")[2]
        if kind not in shapes:
            raise UnsupportedModelError(
                "This model cannot be packed.",
                why=f"It has a tensor {module}, which is not known here.",
                remedy="Choose another model.",
            )
        jobs.append(Job(module, source, roles.get(kind, recipe), *shapes[kind]))
    return jobs


def linear_shapes(args: CommonArgs) -> dict[str, tuple[int, int]]:
    """(out, in) of every linear that the known architectures have, by the last part of its name."""
    hidden = args.hidden_size
    return {
        "q_proj": (args.q_width, hidden),
        "k_proj": (args.kv_width, hidden),
        "v_proj": (args.kv_width, hidden),
        "o_proj": (hidden, args.q_width),
        "gate_proj": (args.intermediate_size, hidden),
        "up_proj": (args.intermediate_size, hidden),
        "down_proj": (hidden, args.intermediate_size),
        "embed_tokens": (args.vocab_size, hidden),
        "lm_head": (args.vocab_size, hidden),
    }


def _same_table(checkpoint: Checkpoint, table: str) -> bool:
    """Whether head and embedding are two roundings of one matrix, as GGUF files of tied models often have them."""
    if not table:
        return False
    head, embedding = (dense_rows(checkpoint.linear(module), 0, _COMPARED) for module in ("lm_head", table))
    if (head.out_features, head.in_features) != (embedding.out_features, embedding.in_features):
        return False
    a, b = dense.dequantize(head), dense.dequantize(embedding)
    return float(np.square(a - b).sum()) < 0.02 * float(np.square(a).sum())  # Q4_0 is 0.008 from its source


def refuse_packed(checkpoint: Checkpoint) -> None:
    """Raises UnsupportedModelError for a build: what was lost once would be lost twice."""
    if checkpoint.kind == "pack" or checkpoint.config.get("quantization_config"):
        raise UnsupportedModelError(
            "This model is packed already.",
            why="Packing it once more would add a second loss to the first.",
            remedy="Give the original model: a Hugging Face folder in 16 or 32 bits, or a GGUF file.",
        )


def check_out(out: Path, *, force: bool) -> None:
    """Raises ConflictError or InvalidRequestError where `out` cannot be written."""
    if out.is_dir() or (out.exists() and not force):
        raise ConflictError(f"{out} is there already.", remedy="Choose another name, or replace a file with --force.")
    if not out.parent.is_dir():
        raise InvalidRequestError(f"There is no folder {out.parent}.", remedy="Make it, or choose another place.")


def storage_error(out: Path, error: OSError) -> StorageError:
    """What the system refused while `out` was made, in sentences."""
    if error.errno == errno.ENOSPC:
        return DiskFullError(
            "There is no room for the packed model.",
            why=f"The disk of {out} is full.",
            remedy="Make room, and try again.",
        )
    return StorageError(
        "The packed model could not be written.",
        why=f"{error.strerror or error}: {error.filename or out}.",
        details=repr(error),
    )
