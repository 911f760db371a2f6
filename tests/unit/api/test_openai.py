"""The OpenAI-compatible door, seen by the real client library of OpenAI."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from backend.api.errors import ModelLoadError
from backend.api.schemas import LoadedModel, LoadModel, ModelEntry
from backend.engine.model import Model
from tests.fakes.models import loader_of, scripted
from tests.fakes.server import RunningServer, running_server
from tests.unit.api.conftest import ANSWER
from tests.unit.api.raw import ask

MODEL = "echo"
USER: Any = [{"role": "user", "content": "Hi"}]


def client_of(server: RunningServer, key: str | None = None, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=key or server.token, **options)


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as made:
        yield made


def post(server: RunningServer, path: str, body: object) -> Any:
    return ask(server.port, "POST", path, token=server.token, json_body=body)


# -- models ------------------------------------------------------------------------------------------------------------


def test_models(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == [MODEL]
    assert listed[0].object == "model"
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.retrieve("0123456789abcdef").id == MODEL
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"


# -- chat --------------------------------------------------------------------------------------------------------------


def test_chat(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=USER)
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.model == MODEL
    (choice,) = reply.choices
    assert (choice.message.role, choice.message.content) == ("assistant", ANSWER)
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    usage = reply.usage
    assert usage is not None
    assert usage.completion_tokens == len(ANSWER)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details is not None
    again = client.chat.completions.create(model=MODEL, messages=USER).usage
    assert again is not None
    assert again.prompt_tokens_details is not None
    assert again.prompt_tokens_details.cached_tokens is not None
    assert 0 < again.prompt_tokens_details.cached_tokens < again.prompt_tokens


def test_chat_streamed(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model=MODEL, messages=USER, stream=True))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert not [chunk for chunk in chunks[:-1] if chunk.choices[0].finish_reason]
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_of_a_stream_comes_last_and_only_if_asked_for(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=USER, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(ANSWER)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_stream_on_the_wire(server: RunningServer) -> None:
    answer = post(server, "/v1/chat/completions", {"messages": USER, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    frames = answer.body.decode().split("\n\n")
    assert frames[-1] == ""
    assert frames[-2] == "data: [DONE]"
    assert all(frame.startswith(("data: ", ": ")) for frame in frames[:-1])


def test_limits_and_stops(client: openai.OpenAI) -> None:
    def said(**options: Any) -> tuple[str | None, str]:
        choice = client.chat.completions.create(model=MODEL, messages=USER, **options).choices[0]
        return choice.message.content, choice.finish_reason

    assert said(max_tokens=5) == ("Hello", "length")
    assert said(max_completion_tokens=3, max_tokens=5) == ("Hel", "length")
    assert said(stop="there") == ("Hello ", "stop")
    assert said(stop=["friend", "zzz"]) == ("Hello there, ", "stop")
    assert said(max_tokens=-1) == (ANSWER, "stop")
    assert said(stop=[]) == (ANSWER, "stop")


def test_a_full_context_is_length(data: Path) -> None:
    with running_server(data / "full", lambda: scripted("x" * 500, n_ctx=100)) as server, client_of(server) as client:
        choice = client.chat.completions.create(model=MODEL, messages=USER).choices[0]
        assert choice.finish_reason == "length"
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 200}])
        assert caught.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError):  # before the stream starts, so that the status says it
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 200}], stream=True)


def test_logprobs(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(
        model=MODEL, messages=USER, logprobs=True, top_logprobs=3, max_tokens=4
    ).choices[0]
    assert choice.logprobs is not None
    content = choice.logprobs.content
    assert content is not None
    assert "".join(token.token for token in content) == "Hell"
    assert [token.bytes for token in content] == [[ord(char)] for char in "Hell"]
    for token in content:
        assert -1e-3 < token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token
    plain = client.chat.completions.create(model=MODEL, messages=USER, logprobs=True, max_tokens=2).choices[0]
    assert plain.logprobs is not None
    assert plain.logprobs.content is not None
    assert [token.top_logprobs for token in plain.logprobs.content] == [[], []]


def test_logprobs_streamed(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model=MODEL, messages=USER, logprobs=True, stream=True)
    tokens: list[str] = []
    for chunk in chunks:
        logprobs = chunk.choices[0].logprobs
        tokens += [token.token for token in logprobs.content or []] if logprobs else []
    assert "".join(tokens) == ANSWER


def test_content_as_parts_and_all_roles(server: RunningServer, client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": " two"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "Three", "name": "someone"},
    ]
    seen: list[str] = []
    engine = server.services.engine
    original = engine.generate

    def generate(completion: Any, **options: Any) -> Any:
        seen.append(completion.prompt)
        return original(completion, **options)

    engine.generate = generate  # type: ignore[method-assign]
    try:
        assert client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content == ANSWER
    finally:
        engine.generate = original  # type: ignore[method-assign]
    (prompt,) = seen
    assert "system\nBe brief." in prompt.lower().replace("be brief.", "Be brief."), (
        "developer is today's word for system"
    )
    assert "One two" in prompt
    assert prompt.index("One two") < prompt.index("Three")


def test_sampling_reaches_the_engine(server: RunningServer, client: openai.OpenAI) -> None:
    seen: list[Any] = []
    engine = server.services.engine
    original = engine.generate

    def generate(completion: Any, **options: Any) -> Any:
        seen.append(completion)
        return original(completion, **options)

    engine.generate = generate  # type: ignore[method-assign]
    try:
        client.chat.completions.create(
            model=MODEL,
            messages=USER,
            temperature=0.25,
            top_p=0.5,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            seed=7,
            stop=["a", "b"],
            max_tokens=9,
            logit_bias={"65": 5},
            extra_body={"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.2, "unknown": {"x": 1}, "user": "u"},
        )
        client.chat.completions.create(model=MODEL, messages=USER, extra_body={"top_k": -1, "repetition_penalty": 1.5})
    finally:
        engine.generate = original  # type: ignore[method-assign]
    first, second = seen
    loaded = server.services.engine.loaded
    assert loaded is not None
    sampling = first.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.25, 0.5, 3, 0.1)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.5, -0.5)
    assert (sampling.repetition_penalty, sampling.seed, sampling.max_tokens) == (1.2, 7, 9)
    assert sampling.logit_bias == {"65": 5}
    assert sampling.stop[:2] == ["a", "b"]
    assert first.logprobs is None
    assert (second.sampling.top_k, second.sampling.repetition_penalty) == (0, 1.5)
    assert second.sampling.temperature == loaded.sampling.temperature, "what is not given is the model's own"
    assert second.sampling.max_tokens is None


def test_the_same_seed_gives_the_same_answer(client: openai.OpenAI) -> None:
    def said() -> str | None:
        return (
            client.chat.completions.create(model=MODEL, messages=USER, seed=1, temperature=2).choices[0].message.content
        )

    assert said() == said()


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, None, "messages"),
        ({"messages": []}, "messages", "length"),
        ({"messages": "hi"}, "messages", "array"),
        ({"messages": USER, "temperature": "hot"}, "temperature", "float"),
        ({"messages": USER, "temperature": -1}, "temperature", "0"),
        ({"messages": USER, "top_p": 2}, "top_p", "1"),
        ({"messages": USER, "max_tokens": 0}, "max_tokens", "0"),
        ({"messages": USER, "n": 2}, "n", "one answer"),
        ({"messages": USER, "n": 0}, "n", "one answer"),
        ({"messages": USER, "logit_bias": {"hello": 1}}, "logit_bias", "token ids"),
        ({"messages": USER, "logit_bias": {"1": 1000}}, "logit_bias[...]", "100"),
        ({"messages": USER, "top_logprobs": 2}, "top_logprobs", "logprobs"),
        ({"messages": USER, "tools": [{"type": "function"}]}, "tools", "Tools"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "tool"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "wizard"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
            "messages[0].content",
            "Images",
        ),
        ({"messages": USER, "response_format": {"type": "xml"}}, None, "xml"),
        ([], None, "object"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(
    server: RunningServer, body: object, param: str | None, words: str
) -> None:
    answer = post(server, "/v1/chat/completions", body)
    assert answer.status == 400
    error = answer.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b"\xff\xfe", b'{"messages": ' + b"[" * 5000])
def test_bodies_that_are_not_json(server: RunningServer, body: bytes) -> None:
    headers = [("Content-Type", "application/json")]
    answer = ask(server.port, "POST", "/v1/chat/completions", token=server.token, headers=headers, body=body)
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"


def test_tools_that_must_not_be_used_are_no_reason_to_refuse(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    reply = client.chat.completions.create(model=MODEL, messages=USER, tools=[tool], tool_choice="none")
    assert reply.choices[0].message.content == ANSWER


# -- completions -------------------------------------------------------------------------------------------------------


def test_completions(client: openai.OpenAI) -> None:
    reply = client.completions.create(model=MODEL, prompt="Q\0", max_tokens=50)
    assert reply.object == "text_completion"
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == (ANSWER, "stop")
    assert reply.usage is not None
    assert reply.usage.completion_tokens == len(ANSWER)
    assert client.completions.create(model=MODEL, prompt=["Q\0"]).choices[0].text == ANSWER[:16], "16 by default"
    echoed = client.completions.create(model=MODEL, prompt="Q\0", echo=True, max_tokens=5)
    assert echoed.choices[0].text == "Q\0Hello"


def test_completions_streamed(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model=MODEL, prompt="Q\0", max_tokens=50, stream=True, echo=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "Q\0" + ANSWER
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


def test_completions_with_legacy_logprobs(client: openai.OpenAI) -> None:
    logprobs = client.completions.create(model=MODEL, prompt="Q\0", max_tokens=5, logprobs=2).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == list("Hello")
    assert logprobs.token_logprobs is not None
    assert all(-1e-3 < value <= 0 for value in logprobs.token_logprobs)
    assert logprobs.text_offset == [0, 1, 2, 3, 4]
    assert logprobs.top_logprobs is not None
    assert [len(top) for top in logprobs.top_logprobs] == [2] * 5
    streamed = client.completions.create(model=MODEL, prompt="Q\0", max_tokens=5, logprobs=0, stream=True)
    offsets = [offset for chunk in streamed if (part := chunk.choices[0].logprobs) for offset in part.text_offset or []]
    assert offsets == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [1, 2, 3]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "echo": True, "logprobs": 1}, "echo"),
    ],
)
def test_completions_that_cannot_be_made(server: RunningServer, body: object, param: str) -> None:
    answer = post(server, "/v1/completions", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == param


# -- embeddings --------------------------------------------------------------------------------------------------------


def test_embeddings(client: openai.OpenAI, server: RunningServer) -> None:
    reply = client.embeddings.create(model=MODEL, input=["abc", "abd"])  # the client asks for base64 by itself
    assert [item.index for item in reply.data] == [0, 1]
    assert len(reply.data[0].embedding) == 8
    assert sum(value * value for value in reply.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert reply.data[0].embedding != reply.data[1].embedding
    assert reply.usage.prompt_tokens == 6
    plain = client.embeddings.create(model=MODEL, input="abc", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(reply.data[0].embedding)
    assert post(server, "/v1/embeddings", {"input": "abc", "dimensions": 8}).status == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_embeddings_that_cannot_be_made(server: RunningServer, body: object, param: str) -> None:
    answer = post(server, "/v1/embeddings", body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == param


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_wrong_key(server: RunningServer) -> None:
    with client_of(server, "sk-wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=MODEL, messages=USER)
    assert caught.value.code == "unauthorized"
    assert caught.value.type == "authentication_error"


def test_unknown_paths_and_methods_in_their_shape(server: RunningServer) -> None:
    for answer, status in [
        (post(server, "/v1/responses", {}), 404),
        (ask(server.port, "GET", "/v1/chat/completions", token=server.token), 405),
    ]:
        assert answer.status == status
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert answer.json["error"]["message"]


def test_a_failure_in_the_middle_of_a_stream_is_an_error_chunk(data: Path) -> None:
    class BreaksError(Exception):
        pass

    def breaking() -> Model:
        model = scripted("x" * 100)
        forward = model.forward

        def forward_then_break(nodes: Any) -> Any:
            if model.length > 60:
                raise BreaksError("broken inside")
            return forward(nodes)

        model.forward = forward_then_break  # type: ignore[method-assign]
        return model

    with running_server(data / "breaks", breaking) as server:
        answer = post(server, "/v1/chat/completions", {"messages": USER, "stream": True})
        assert answer.status == 200
        frames = answer.body.decode().strip().split("\n\n")
        assert frames[-1] == "data: [DONE]"
        assert '"error":{"message":' in frames[-2]
        with client_of(server, max_retries=0) as client, pytest.raises(openai.APIError):
            list(client.chat.completions.create(model=MODEL, messages=USER, stream=True))
        with client_of(server) as client, pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=MODEL, messages=USER)
        assert server.services.generations == set()


# -- which model -------------------------------------------------------------------------------------------------------


def entry(name: str, id: str) -> ModelEntry:  # noqa: A002
    return ModelEntry(id=id, name=name, path=f"/models/{name}.Q4_K_M.gguf", source="file", bytes=1)


class Names:
    """A loader whose models say their own name."""

    def __init__(self) -> None:
        self.loads: list[str] = []

    def __call__(
        self, what: ModelEntry, options: LoadModel, progress: Callable[[float], bool]
    ) -> tuple[Model, LoadedModel]:
        self.loads.append(what.name)
        if what.name == "Bad":
            raise ModelLoadError("It cannot be read.")
        return loader_of(lambda: scripted(what.name))(what, options, progress)


def test_a_model_is_loaded_when_it_is_named(data: Path) -> None:
    names = Names()
    entries = [entry("Alpha", "a" * 16), entry("Beta", "b" * 16), entry("Bad", "c" * 16)]
    with (
        running_server(data / "jit", loader=names, entries=entries, load=False) as server,
        client_of(server, max_retries=0) as client,
    ):

        def said(model: str) -> str | None:
            return client.chat.completions.create(model=model, messages=USER).choices[0].message.content

        with pytest.raises(openai.NotFoundError) as missing:
            said("gpt-4")
        assert missing.value.code == "model_not_found"
        answer = post(server, "/v1/chat/completions", {"messages": USER})
        assert (answer.status, answer.json["error"]["code"]) == (409, "no_model")
        assert answer.headers["x-should-retry"] == "false"
        assert said("alpha") == "Alpha"
        assert said("gpt-4") == "Alpha", "any name is good once a model is there"
        assert said("b" * 16) == "Beta"
        assert said("Beta.Q4_K_M.gguf") == "Beta"
        assert names.loads == ["Alpha", "Beta"]
        assert [model.id for model in client.models.list().data] == ["Beta", "Alpha", "Bad"]
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            said("Bad")
        assert refused.value.code == "model_load_failed"


def test_two_models_of_one_name_are_told_apart_by_id(data: Path) -> None:
    entries = [entry("Same", "a" * 16), entry("Same", "b" * 16)]
    with running_server(data / "same", loader=Names(), entries=entries) as server, client_of(server) as client:
        assert {model.id for model in client.models.list().data} == {"a" * 16, "b" * 16}


# -- going away, waiting -----------------------------------------------------------------------------------------------


@pytest.fixture
def slow(data: Path) -> Iterator[RunningServer]:
    with running_server(data / "slow", lambda: scripted("x" * 3000, delay_s=0.02)) as running:
        yield running


def test_closing_a_stream_cancels_the_generation(slow: RunningServer) -> None:
    with client_of(slow) as client:
        with client.chat.completions.create(model=MODEL, messages=USER, stream=True) as stream:
            for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
            assert slow.services.engine.busy
        slow.until(lambda: not slow.services.engine.busy and not slow.services.generations)


def test_a_client_that_gives_up_cancels_the_generation(slow: RunningServer) -> None:
    with client_of(slow, timeout=0.5, max_retries=0) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model=MODEL, messages=USER)
    slow.until(lambda: not slow.services.engine.busy and not slow.services.generations)


def test_a_request_that_waits_its_turn_can_be_given_up_too(slow: RunningServer) -> None:
    with client_of(slow) as first, client_of(slow, timeout=0.3, max_retries=0) as second:
        with first.chat.completions.create(model=MODEL, messages=USER, stream=True) as stream:
            next(iter(stream))
            with pytest.raises(openai.APITimeoutError):
                second.chat.completions.create(model=MODEL, messages=USER, stream=True)
            slow.until(lambda: len(slow.services.generations) == 1)
        slow.until(lambda: not slow.services.generations and not slow.services.engine.busy)


def test_the_async_client_too(server: RunningServer) -> None:
    async def main() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=server.token) as client:
            stream = await client.chat.completions.create(model=MODEL, messages=USER, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(main()) == ANSWER


def test_a_long_prefill_says_that_it_goes_on(data: Path) -> None:
    with running_server(data / "prefill", lambda: scripted("ok", delay_s=0.01)) as server:
        body = {"messages": [{"role": "user", "content": "x" * 1000}], "stream": True}
        frames = post(server, "/v1/chat/completions", body).body.decode().split("\n\n")
        comments = [frame for frame in frames if frame.startswith(": reading ")]
        assert len(comments) > 3
        assert frames.index(comments[0]) < next(i for i, frame in enumerate(frames) if '"content":"o' in frame)


def test_too_many_at_once_are_turned_away(slow: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.api.routes.openai_run.MOST_AT_ONCE", 1)
    with (
        client_of(slow, max_retries=0) as client,
        client.chat.completions.create(model=MODEL, messages=USER, stream=True) as stream,
    ):
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=MODEL, messages=USER)
        assert caught.value.code == "too_busy"


def test_stopping_the_server_ends_streams_with_an_error(slow: RunningServer) -> None:
    seen: list[str] = []
    failed = threading.Event()

    def read() -> None:
        with client_of(slow, max_retries=0) as client:
            try:
                for chunk in client.chat.completions.create(model=MODEL, messages=USER, stream=True):
                    seen.append(chunk.choices[0].delta.content or "")
                    assert chunk.choices[0].finish_reason is None, "an answer that was broken off must not look whole"
            except openai.APIError:
                failed.set()

    thread = threading.Thread(target=read)
    thread.start()
    slow.until(lambda: any(seen))
    slow.do(slow.server.stop())
    thread.join(10)
    assert failed.is_set()
