"""Chat templates of our own, for files that have none or a broken one; chosen by the vocabulary's control tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuiltinTemplate:
    """A template, how to recognise a vocabulary that it fits, and strings that end an answer."""

    name: str
    needs: tuple[str, ...]
    source: str
    stop: tuple[str, ...] = ()


_CHATML = BuiltinTemplate(
    "ChatML",
    ("<|im_start|>", "<|im_end|>"),
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
)
_LLAMA3 = BuiltinTemplate(
    "Llama 3",
    ("<|start_header_id|>", "<|eot_id|>"),
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
)
_GEMMA = BuiltinTemplate(
    "Gemma",
    ("<start_of_turn>", "<end_of_turn>"),
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
    "{{ m.content }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
)
_PHI3 = BuiltinTemplate(
    "Phi 3",
    ("<|user|>", "<|assistant|>", "<|end|>"),
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
)
_MISTRAL = BuiltinTemplate(
    "Mistral",
    ("[INST]", "[/INST]"),
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}",
)
PLAIN = BuiltinTemplate(
    "plain text",
    (),
    "{% for m in messages %}### {{ m.role|capitalize }}:\n{{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}",
    stop=("\n### User:", "\n### System:"),
)

KNOWN = (_CHATML, _LLAMA3, _GEMMA, _PHI3, _MISTRAL)


def choose(has_token: dict[str, bool]) -> BuiltinTemplate:
    """The first template whose control tokens the vocabulary has; plain text where none fits."""
    return next((t for t in KNOWN if all(has_token.get(token, False) for token in t.needs)), PLAIN)


#: Every control token that `choose` wants to know about.
MARKERS: tuple[str, ...] = tuple(token for template in KNOWN for token in template.needs)
