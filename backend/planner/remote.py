"""Whether the models of a repository on the hub would run here, before they are downloaded.

Sizes are those that the hub announces; the numbers of the architecture come from the header of one GGUF file (the
smallest: all builds of a repository have the same) or from config.json. What is computed from them is what the
catalogue's models get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backend.api.errors import ModelError, NotFoundError
from backend.api.hub_schemas import Fit, RepositoryFits
from backend.architectures import ARCHITECTURES
from backend.formats.gguf import GGUFHeader
from backend.formats.gguf_checks import check_chat_model
from backend.formats.hf_folder import quantization
from backend.hub.choices import Choice, choices
from backend.hub.network import NETWORK, Network
from backend.hub.ranged import peek_config, peek_gguf
from backend.hub.remote import Repository, open_repository
from backend.planner.architecture import Architecture, from_config, from_gguf
from backend.planner.learned import Known
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.subject import Subject
from backend.planner.weights import Weights, gguf_weights, native_weights, of_header

__all__ = ["fits", "likely", "subjects", "usual_bytes"]

_DTYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
#: bits of a weight in the usual build of 4 bits (Q4_K_M)
_USUAL_BITS = 4.85
#: what a small conversation, buffers and the process take beside the weights
_BESIDE, _BESIDE_SHARE = 400e6, 1.12


def fits(
    name: str,
    machine: Machine,
    known: Known | None = None,
    *,
    revision: str = "main",
    leaving: int = 0,
    network: Network = NETWORK,
) -> RepositoryFits:
    """One answer for each model of a repository that can be computed, and a sentence where some cannot.

    Args:
        name: of the repository.
        machine: with what is free now.
        known: what loads taught; None: nothing.
        revision: branch, tag or commit.
        leaving: bytes of the model that is loaded and would leave.
        network: whose switches hold.

    Raises:
        NotFoundError, OfflineError, NetworkError, AccessError: the hub.
    """
    repository = open_repository(name, revision, network)
    found, notice = subjects(repository, network)
    answers = []
    for choice, subject in found.items():
        one = plan(subject, machine, Wishes(leaving=leaving).knowing(known, subject))
        answers.append(
            Fit(
                choice=choice, verdict=one.verdict, remedy=" ".join(one.remedies[:1]), ram=one.ram,
                tokens=one.speed.tokens, low=one.speed.low, high=one.speed.high, context=one.context,
            )
        )  # fmt: skip
    return RepositoryFits(fits=answers, notice=notice)


def subjects(repository: Repository, network: Network = NETWORK) -> tuple[dict[str, Subject], str]:
    """What can be planned of a repository, by the name of the choice; and why some cannot. Raises as `fits` does."""
    found: dict[str, Subject] = {}
    notice = ""
    every = choices(repository)
    ggufs = [one for one in every if one.files[0].path.lower().endswith(".gguf")]
    folders = [one for one in every if one.name == "safetensors"]
    try:
        if ggufs:
            # one in a single file before one in parts: all its tensors are in one header
            first = min(ggufs, key=lambda one: (len(one.files) > 1, one.bytes))
            header = peek_gguf(repository, first.files[0], network)
            if len(first.files) == 1:  # of one in parts, what is missing here is in the others
                check_chat_model(header)
            header = replace(header, buffer=b"")
            found |= {one.name: _gguf(repository, one, header, first) for one in ggufs}
        for one in folders:
            config = next(file for file in one.files if file.path == "config.json")
            found[one.name] = _folder(repository, peek_config(repository, config, network))
    except ModelError as error:
        notice = str(error)
    except ValueError:
        notice = "What it needs cannot be computed: its layers differ from one another, or one of its sizes is missing."
    except StopIteration as error:
        raise NotFoundError(f"{repository.name} has no config.json.") from error
    return found, notice


def likely(parameters: int, machine: Machine, *, leaving: int = 0) -> str:
    """A first guess from the number of weights alone, for a list of many: a build of 4 bits, a small conversation."""
    need = usual_bytes(parameters) * _BESIDE_SHARE + _BESIDE
    if need <= machine.memory_free + machine.gpu_free + leaving:
        return "fits"
    return "fits if" if need <= 0.85 * machine.memory_total else "does not fit"


def usual_bytes(parameters: int) -> int:
    """Of the usual build of 4 bits."""
    return round(parameters * _USUAL_BITS / 8)


def _gguf(repository: Repository, choice: Choice, header: GGUFHeader, first: Choice) -> Subject:
    """Raises ValueError."""
    prefix = f"{header.architecture}."
    setting = {key.removeprefix(prefix): value for key, value in header.metadata.items() if key.startswith(prefix)}
    sizes = {tensor.name: tensor for tensor in header.tensors}
    tokens = header.arrays.get("tokenizer.ggml.tokens")
    vocabulary = sizes["token_embd.weight"].shape[-1] if "token_embd.weight" in sizes else tokens.count if tokens else 1
    whole = len(first.files) == 1
    tied = whole and "output.weight" not in sizes  # of a model in parts the head may be in another
    architecture = from_gguf(header.architecture, setting, vocabulary, tied=tied)
    weights = of_header(header, architecture) if whole else gguf_weights(architecture, "Q4_K_M")
    data = max(choice.bytes - header.data_offset, 1)
    name = f"{repository.name.split('/')[-1]}, {choice.name}"
    scaled = _scaled(weights, data / max(weights.total, 1))
    return Subject(
        name, "llama.cpp", choice.name, architecture, scaled, header.context_length, repository.name, exact=True
    )


def _scaled(weights: Weights, factor: float) -> Weights:
    """The same model with other bits: mixtures differ by layers less than the margin of a plan."""
    return Weights(
        round(weights.embedding * factor),
        tuple(round(layer * factor) for layer in weights.layers),
        round(weights.head * factor),
        round(weights.row * factor),
        weights.active,
        round(weights.copied * factor),
        weights.multiplied * factor,
    )


def _folder(repository: Repository, config: Mapping[str, Any]) -> Subject:
    """Of a checkpoint, which our engine turns into a pack. Raises ValueError, ModelError."""
    architecture: Architecture = from_config(config)
    if architecture.model_type not in ARCHITECTURES:
        raise ValueError(f"model_type {architecture.model_type!r}"[:80])
    scheme = _scheme(quantization(config), config)
    table = "f32" if architecture.vocab_size < 1024 else "f16"
    weights = native_weights(architecture, scheme, table=table)
    context = config.get("max_position_embeddings")
    trained = context if isinstance(context, int) and context > 0 else 0
    return Subject(repository.name, "native", scheme, architecture, weights, trained, repository.name)


def _scheme(method: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Raises ValueError: a way of making models smaller that is not known here."""
    if not method:
        return _DTYPES.get(str(config.get("torch_dtype") or config.get("dtype") or "bfloat16"), "bf16")
    if method.get("quant_method") == "aqlm":
        return f"aqlm-{method.get('num_codebooks')}x{method.get('nbits_per_codebook')}"
    if method.get("quant_method") == "spqr":
        return f"spqr-{method.get('bits', 3)}"
    raise ValueError(f"made smaller with {method.get('quant_method')!r}"[:80])
