"""What OpenAI's clients send and expect. Null means "not given", as their client library sends it so."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

__all__ = [
    "ChatRequest",
    "Choice",
    "ChunkChoice",
    "Common",
    "CompletionRequest",
    "EmbeddingsRequest",
    "StreamOptions",
    "TextPart",
    "Usage",
    "WireMessage",
]

Bias = dict[str, Annotated[float, Meta(ge=-100, le=100)]]


class StreamOptions(Struct):
    """What a stream carries besides text."""

    include_usage: bool | None = None


class TextPart(Struct):
    """One part of a message's content; only type "text" can be used."""

    type: str
    text: str | None = None


class WireMessage(Struct):
    """One message of a chat request."""

    role: str
    content: str | list[TextPart] | None = None


class Common(Struct, kw_only=True):
    """The fields that chat and plain completions share. Names that only local servers know are taken too."""

    model: str | None = None
    temperature: Annotated[float, Meta(ge=0, le=5)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None  # llama.cpp's name for it
    seed: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    max_tokens: Annotated[int, Meta(ge=-1)] | None = None
    n: int | None = None
    logit_bias: Bias | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ChatRequest(Common, kw_only=True):
    """Body of POST /v1/chat/completions."""

    messages: Annotated[list[WireMessage], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=-1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None


class CompletionRequest(Common, kw_only=True):
    """Body of POST /v1/completions."""

    prompt: Any
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None
    response_format: dict[str, Any] | None = None


class EmbeddingsRequest(Struct, kw_only=True):
    """Body of POST /v1/embeddings."""

    input: Any
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class PromptDetails(Struct):
    """Of the prompt's tokens: how many were in the cache."""

    cached_tokens: int


class CompletionDetails(Struct):
    """Of the answer's tokens: OpenAI's names for guesses, and two fields of ours."""

    accepted_prediction_tokens: int
    rejected_prediction_tokens: int
    passes: int  # over the weights, behind the prompt
    speedup: float  # times plain decoding


class Usage(Struct, omit_defaults=True):
    """Tokens of one request."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class TopLogprob(Struct):
    """One alternative."""

    token: str
    logprob: float
    bytes: list[int]


class ChatLogprob(Struct):
    """One token of an answer."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct):
    """Log-probabilities, chat form."""

    content: list[ChatLogprob]
    refusal: None = None


class TextLogprobs(Struct):
    """Log-probabilities, the form of plain completions."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class Answer(Struct):
    """The message of a whole chat answer."""

    content: str
    role: str = "assistant"
    refusal: None = None


class Delta(Struct, omit_defaults=True):
    """The new part of a chat answer."""

    role: str | None = None
    content: str | None = None


class Choice(Struct):
    """A whole chat answer."""

    message: Answer
    logprobs: ChatLogprobs | None
    finish_reason: str
    index: int = 0


class ChunkChoice(Struct):
    """Part of a chat answer."""

    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None
    index: int = 0


class TextChoice(Struct):
    """A plain completion, whole or in part."""

    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: str | None = None
    index: int = 0


class Reply(Struct, kw_only=True):
    """The envelope of whole answers and of chunks without usage."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice] | list[ChunkChoice] | list[TextChoice]


class ReplyWithUsage(Reply, kw_only=True):
    """With usage; null in every chunk but the last, as the protocol wants it."""

    usage: Usage | None


class ModelCard(Struct, kw_only=True):
    """One entry of GET /v1/models. The fields after `owned_by` are ours."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "nutshell"
    loaded: bool = False
    context_length: int = 0
    quantization: str = ""


class ModelList(Struct):
    """GET /v1/models."""

    data: list[ModelCard]
    object: str = "list"


class Embedding(Struct, kw_only=True):
    """One vector: numbers, or base64 of little-endian float32."""

    embedding: list[float] | str
    index: int
    object: str = "embedding"


class Embeddings(Struct, kw_only=True):
    """The answer to an embeddings request."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: str = "list"
