"""Loads model files in turn with llama.cpp, in a process that may die of it.

    python load_probe.py < names
    stdin   one path a line
    stdout  one line before each file ("begin PATH") and one after it ("ok" or "refused", then PATH)

A file counts as "ok" when it was loaded, and a few tokens were decoded and turned into text.
"""

from __future__ import annotations

import ctypes
import sys

import llama_cpp


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    """llama.cpp writes a page for every file."""


def load(path: str) -> bool:
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        return False
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_threads, settings.n_threads_batch = 64, 64, 1, 1
    context = llama_cpp.llama_init_from_model(model, settings)
    if not context:
        llama_cpp.llama_model_free(model)
        return False
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    tokens = (llama_cpp.llama_token * 48)()
    text = "<|im_start|>user\nWhy is the sky blue? Wärme, 空\x00\xf0\x9f\x99\x82<|im_end|>\n".encode()
    done = True
    for add_special in (True, False):  # both, because a start token that is missing ends the process
        count = llama_cpp.llama_tokenize(vocabulary, text, len(text), tokens, 48, add_special, True)
        amount = min(max(count, 1), 24) if count >= 0 else 24  # too long a text fills the array and returns -length
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch = llama_cpp.llama_batch_get_one(tokens, amount)
        done = done and llama_cpp.llama_decode(context, batch) == 0
    if done:
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        n_vocab = llama_cpp.llama_vocab_n_tokens(vocabulary)
        best = max(range(n_vocab), key=lambda token: logits[token])
        room = ctypes.create_string_buffer(64)
        for token in {best, 0, n_vocab - 1, *range(2, n_vocab, 37)}:
            llama_cpp.llama_token_to_piece(vocabulary, token, room, len(room), 0, True)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return done


def main() -> None:
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    for line in sys.stdin:
        path = line.rstrip("\n")
        print("begin", path, flush=True)
        print("ok" if load(path) else "refused", path, flush=True)


if __name__ == "__main__":
    main()
