"""What a fake model cannot show: grammar, embeddings and streams from llama.cpp, through OpenAI's client library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest
from msgspec.structs import replace

from backend.api.schemas import LoadedModel, LoadModel, ModelEntry
from backend.engine.loading import load_model
from backend.engine.model import Model
from tests.fakes.server import RunningServer, running_server

USER: Any = [{"role": "user", "content": "Say something about Paris."}]


def serve(folder: Path, model: Path) -> Any:
    entry = ModelEntry(id="a" * 16, name="Tiny", path=str(model), source="file", bytes=model.stat().st_size)

    def load(what: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> tuple[Model, LoadedModel]:
        # One thread: llama.cpp's threads wait for each other, which takes seconds where other tests want the cores.
        return load_model(what, replace(options, n_threads=1), progress)

    return running_server(folder, loader=load, entries=[entry])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Path) -> Iterator[RunningServer]:
    with serve(tmp_path_factory.mktemp("data"), tiny_gguf) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.token, timeout=60) as made:
        yield made


class City(pydantic.BaseModel):
    kind: Literal["town", "city"]
    large: bool


def test_a_json_schema_is_kept_even_by_random_weights(client: openai.OpenAI) -> None:
    whole = 0
    for seed in range(3):
        reply = client.chat.completions.parse(
            model="Tiny", messages=USER, response_format=City, seed=seed, temperature=1, max_tokens=400
        )
        choice = reply.choices[0]
        if choice.finish_reason == "length":  # random weights may fill the line with spaces, which JSON allows
            continue
        assert choice.message.parsed is not None
        assert choice.message.parsed.kind in ("town", "city")
        whole += 1
    assert whole, "at least one answer came to its end"


def test_a_json_schema_streamed(client: openai.OpenAI) -> None:
    schema = {"type": "string", "enum": ["yes", "no"]}
    chunks = client.chat.completions.create(
        model="Tiny",
        messages=USER,
        stream=True,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    assert json.loads("".join(chunk.choices[0].delta.content or "" for chunk in chunks)) in ("yes", "no")


def test_a_schema_that_cannot_be_used(client: openai.OpenAI) -> None:
    for broken in [
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": 3}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "https://example.org/schema.json"}}},
    ]:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="Tiny", messages=USER, response_format=broken)  # type: ignore[call-overload]
        assert caught.value.code == "invalid_grammar"


def test_embeddings(client: openai.OpenAI) -> None:
    reply = client.embeddings.create(model="Tiny", input=["a cat", "a cat", "something else entirely"])
    first, same, other = (item.embedding for item in reply.data)
    assert first == pytest.approx(same, abs=1e-5)
    assert first != pytest.approx(other, abs=1e-3)
    assert sum(value * value for value in first) == pytest.approx(1, abs=1e-4)
    after = client.chat.completions.create(model="Tiny", messages=USER, max_tokens=2, temperature=0)
    assert after.usage is not None, "the model answers after embedding as before"


def test_logprobs_are_a_distribution(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(
        model="Tiny", messages=USER, logprobs=True, top_logprobs=5, temperature=0, max_tokens=3
    ).choices[0]
    assert choice.logprobs is not None
    for token in choice.logprobs.content or []:
        values = [top.logprob for top in token.top_logprobs]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert token.logprob == pytest.approx(values[0])
        assert all(value <= 0 for value in values)


def test_the_same_seed_and_a_cached_prompt_give_the_same_text(client: openai.OpenAI) -> None:
    def said() -> tuple[str | None, int]:
        reply = client.chat.completions.create(
            model="Tiny", messages=USER, seed=11, temperature=1.5, max_tokens=20, extra_body={"top_k": 0}
        )
        assert reply.usage is not None
        assert reply.usage.prompt_tokens_details is not None
        return reply.choices[0].message.content, reply.usage.prompt_tokens_details.cached_tokens or 0

    said()
    first, second = said(), said()
    assert first[0] == second[0]
    assert second[1] > 0


@pytest.mark.model
def test_the_built_in_model_answers_in_sentences(tmp_path: Path, smollm2: Path) -> None:
    with (
        serve(tmp_path, smollm2) as server,
        openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=server.token, timeout=60) as client,
    ):
        question: Any = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
        plain = client.chat.completions.create(model="Tiny", messages=question, temperature=0, max_tokens=30)
        assert "Paris" in (plain.choices[0].message.content or "")
        chunks = list(
            client.chat.completions.create(model="Tiny", messages=question, temperature=0, max_tokens=30, stream=True)
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == plain.choices[0].message.content
        shaped = client.chat.completions.create(
            model="Tiny",
            messages=question,
            temperature=0,
            max_tokens=60,
            response_format={
                "type": "json_schema",
                "json_schema": {
                    "name": "answer",
                    "schema": {
                        "type": "object",
                        "properties": {"capital": {"type": "string"}},
                        "required": ["capital"],
                        "additionalProperties": False,
                    },
                },
            },
        )
        assert set(json.loads(shaped.choices[0].message.content or "")) == {"capital"}
