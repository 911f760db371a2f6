"""A real model of 200 KB: Llama architecture, seeded random weights, byte-level vocabulary, chat template.

It writes noise, but llama.cpp loads it in milliseconds and everything around the weights is as in a large one.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

N_LAYERS = 2
N_EMBD = 64
N_HEADS = 4
N_HEADS_KV = 2
N_FF = 128
N_CTX = 2048
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PAIRS = "Ġ t|Ġ a|h e|i n|r e|o n|e r|Ġt he|a t|e n|Ġ s|o r|i s|e s|a n|Ġ w|o u|in g|Ġ b|Ġ m|l l|Ġ f|Ġa n|Ġan d"


def byte_letters() -> list[str]:
    """The printable letter that GPT-2's vocabulary has for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def vocabulary(kind: str = "gpt2") -> tuple[list[str], list[int], list[str]]:
    """Tokens, their types, and merges; control tokens come first."""
    types = [gguf.TokenType.CONTROL] * len(CONTROL)
    if kind == "llama":  # SentencePiece: bytes are spelled out
        tokens = ["<unk>", *CONTROL[1:], *(f"<0x{byte:02X}>" for byte in range(256))]
        words = ["▁", *"abcdefghijklmnopqrstuvwxyz", "▁t", "he", "▁the", "in", "▁a"]
        kinds = [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(words)
        return tokens + words, [int(t) for t in types + kinds], []
    merges = _PAIRS.split("|")
    tokens = [*CONTROL, *byte_letters(), *(pair.replace(" ", "") for pair in merges)]
    types += [gguf.TokenType.NORMAL] * (len(tokens) - len(CONTROL))
    return tokens, [int(t) for t in types], merges


def write_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    kind: str = "gpt2",
    architecture: str = "llama",
    weights: str = "Q8_0",
    split_max_tensors: int = 0,
    changes: dict[str, object] | None = None,
) -> Path:
    """Writes the model to `path` and returns it.

    Args:
        path: ends in .gguf; with a split, the parts are named after it.
        seed: of the weights.
        kind: "gpt2" (byte-level BPE) or "llama" (SentencePiece).
        architecture: what the file says it is; the tensors are Llama's all the same.
        weights: the type of the matrices, one that gguf-py can write.
        split_max_tensors: more than 0 splits the model into parts of as many tensors.
        changes: metadata to set to another value (int: 32-bit), or to leave out (None).
    """
    tokens, types, merges = vocabulary(kind)
    writer = _Writer(path, architecture, split_max_tensors=split_max_tensors)
    writer.changes = dict(changes or {})
    writer.add_type("model")
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{weights}"])
    writer.add_quantization_version(2)
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(N_EMBD // N_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model(kind)
    if kind == "gpt2":
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(merges)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    writer.add_changes()
    _add_weights(writer, len(tokens), seed, gguf.GGMLQuantizationType[weights])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class _Writer(gguf.GGUFWriter):
    """A writer that swaps some values for others, of whatever type."""

    changes: dict[str, object]

    def add_key_value(self, key: str, val: object, vtype: gguf.GGUFValueType, sub_type: object = None) -> None:
        changes = getattr(self, "changes", {})  # the base class adds the first key before there is an attribute
        if key not in changes:
            super().add_key_value(key, val, vtype, sub_type)

    def add_changes(self) -> None:
        kinds = {
            bool: gguf.GGUFValueType.BOOL,
            int: gguf.GGUFValueType.UINT32,
            float: gguf.GGUFValueType.FLOAT32,
            str: gguf.GGUFValueType.STRING,
            list: gguf.GGUFValueType.ARRAY,
        }
        for key, value in self.changes.items():
            self.kv_data[0].pop(key, None)
            if value is not None:
                super().add_key_value(key, value, kinds[type(value)])


def _add_weights(writer: gguf.GGUFWriter, n_vocab: int, seed: int, kind: gguf.GGMLQuantizationType) -> None:
    random = np.random.default_rng(seed)

    def matrix(name: str, rows: int, columns: int) -> None:
        values: npt.NDArray[np.float32] = random.standard_normal((rows, columns), dtype=np.float32) / columns**0.5
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(N_EMBD, np.float32))

    head = N_EMBD // N_HEADS
    matrix("token_embd.weight", n_vocab, N_EMBD)
    for layer in range(N_LAYERS):
        block = f"blk.{layer}."
        ones(block + "attn_norm.weight")
        matrix(block + "attn_q.weight", N_EMBD, N_EMBD)
        matrix(block + "attn_k.weight", N_HEADS_KV * head, N_EMBD)
        matrix(block + "attn_v.weight", N_HEADS_KV * head, N_EMBD)
        matrix(block + "attn_output.weight", N_EMBD, N_EMBD)
        ones(block + "ffn_norm.weight")
        matrix(block + "ffn_gate.weight", N_FF, N_EMBD)
        matrix(block + "ffn_up.weight", N_FF, N_EMBD)
        matrix(block + "ffn_down.weight", N_EMBD, N_FF)
    ones("output_norm.weight")
    matrix("output.weight", n_vocab, N_EMBD)
