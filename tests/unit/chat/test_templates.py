"""Chat templates: what real ones render, and that hostile ones cost a sentence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from backend.api.errors import TemplateError
from backend.chat import templates
from backend.chat.builtin_templates import KNOWN, PLAIN, BuiltinTemplate, choose
from backend.chat.templates import ChatMessage, ChatTemplate, TemplateSandbox, template_for
from tests.fakes.models import FakeModel, scripted

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
#: Refuses a system message, as Gemma's does.
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"
)


def with_sandbox(test: Callable[[TemplateSandbox], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        sandbox = TemplateSandbox()
        try:
            return await asyncio.wait_for(test(sandbox), 30)
        finally:
            await sandbox.close()

    return asyncio.run(run())


def render(source: str, *messages: ChatMessage) -> str:
    template = ChatTemplate(source, "<s>", "</s>")
    result: str = with_sandbox(lambda sandbox: template.render(sandbox, messages))
    return result


def model_with(template: str | None) -> FakeModel:
    model = scripted("x")
    model.info = replace(model.info, chat_template=template)
    return model


def test_a_published_template() -> None:
    assert render(CHATML, ChatMessage("user", "Hi {{ 7*7 }} <b>"), ChatMessage("assistant", "Yo")) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi {{ 7*7 }} <b><|im_end|>\n"
        "<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content.strip().split(' ')[0] }}", "<s>one"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": " one two "}]'),
        ("{{ messages[::-1][0]['role'] }}", "user"),
        (
            "{% if messages[0].role is defined and messages[0].tools is not defined %}ok{% endif %}",
            "ok",
        ),
        ("{%- if messages %}\n  a\n{%- endif %}", "  a"),
        ("{{ strftime_now('%d') | length }}", "2"),
        ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(messages[0].role) }}", "[user]"),
    ],
)
def test_what_published_templates_use(source: str, expected: str) -> None:
    assert render(source, ChatMessage("user", " one two ")) == expected


def test_a_template_without_a_system_role_gets_it_in_the_first_user_message() -> None:
    prompt = render(NO_SYSTEM, ChatMessage("system", "Be brief."), ChatMessage("user", "Hi"))
    assert prompt == "<user>Be brief.\n\nHi"


HOSTILE = {
    "unclosed comment": "{#",
    "unclosed call": '{{ a["foo"(',
    "endless loop": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "huge repeat": "{{ 'x' * 1000000000 }}",
    "doubling": "{% set ns=namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}"
    "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "deep recursion": "{% macro a(n) %}{{ a(n+1) }}{% endmacro %}{{ a(0) }}",
    "python escape": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "wide format": "{{ '%2000000000d' | format(1) }}",
    "wide centre": "{{ 'a' | center(2000000000) }}",
    "large range": "{{ range(1000000000000) | list | length }}",
    "include": "{% include '/etc/passwd' %}",
    "unknown tag": "{% frobnicate %}",
    "refusal": "{{ raise_exception('no') }}",
    "oversized": "x" * (templates.MOST_TEMPLATE_BYTES + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_a_sentence_within_the_time_limit(name: str) -> None:
    started = time.perf_counter()
    with pytest.raises(TemplateError) as caught:
        render(HOSTILE[name], ChatMessage("user", "hi"))
    assert time.perf_counter() - started < templates.MOST_SECONDS + 2
    assert caught.value.what
    assert caught.value.why
    assert "Traceback" not in str(caught.value)


def test_the_memory_watch_kills_a_doubling_template_and_the_next_one_renders() -> None:
    async def test(sandbox: TemplateSandbox) -> None:
        with pytest.raises(TemplateError, match=r"MB|crashed"):
            await sandbox.render(HOSTILE["doubling"], {"messages": []})
        assert await sandbox.render("fine", {}) == "fine"

    with_sandbox(test)


def test_too_much_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_OUTPUT_BYTES", 10_000)
    with pytest.raises(TemplateError, match="too large"):
        render("{% for i in range(20000) %}xxxxxxxxxx{% endfor %}", ChatMessage("user", "hi"))


def test_the_files_own_template_is_used_when_it_works() -> None:
    template = with_sandbox(lambda sandbox: template_for(model_with(CHATML), sandbox))
    assert template.source == CHATML
    assert template.notice == ""


@pytest.mark.parametrize("source", ["{#", "constant", "{% for m in messages[:1] %}{{ m.content }}{% endfor %}"])
def test_a_broken_or_forgetful_template_falls_back_with_a_plain_sentence(source: str) -> None:
    template = with_sandbox(lambda sandbox: template_for(model_with(source), sandbox))
    assert template.source != source
    assert "own chat template cannot be used" in template.notice
    assert "built-in" in template.notice


def test_a_file_without_a_template_says_so() -> None:
    template = with_sandbox(lambda sandbox: template_for(model_with(None), sandbox))
    assert template.notice.startswith("This model file has no chat template.")
    assert "ChatML" in template.notice, "the fake has its control tokens"


def test_the_builtin_template_follows_the_vocabulary() -> None:
    assert choose({}) is PLAIN
    assert choose({"<|im_start|>": True, "<|im_end|>": True}).name == "ChatML"
    assert choose({"<|start_header_id|>": True, "<|eot_id|>": True}).name == "Llama 3"
    assert choose({"<|im_start|>": True}).name == "plain text", "half of a format is not the format"


@pytest.mark.parametrize("template", [*KNOWN, PLAIN], ids=lambda t: t.name)
def test_every_builtin_template_shows_every_message(template: BuiltinTemplate) -> None:
    said = [ChatMessage("user", "alpha"), ChatMessage("assistant", "beta"), ChatMessage("user", "gamma")]
    prompt = render(template.source, *said)
    assert prompt.index("alpha") < prompt.index("beta") < prompt.index("gamma")
    assert not prompt.rstrip().endswith("gamma"), "it must ask for the assistant's turn"
