"""How each vendor's chat interface is written: addresses, headers, requests, replies and streams of them.

Sources: OpenAI's chat completions, Anthropic's messages (version 2023-06-01), Google's generateContent (v1beta),
Cohere's chat (v2), as their public references describe them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """What is asked of a model: `None` leaves a setting to the vendor.

    Attributes:
        model: the vendor's name of it.
        messages: mappings with `role` (system, user, assistant) and `content`.
        max_tokens, temperature, top_p, top_k: of generation.
        stop: texts that end the answer.
        seed: where the vendor has one.
    """

    model: str
    messages: Sequence[Message]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens read and written, as the vendor counted them; 0 where it did not say."""

    read: int = 0
    written: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.read + other.read, self.written + other.written)

    def cost(self, prices: tuple[float, float]) -> float:
        """Its price, with `prices` of a million tokens read and written."""
        return (self.read * prices[0] + self.written * prices[1]) / 1e6


@dataclass(frozen=True)
class Piece:
    """A part of an answer: text, tokens counted so far in this part of the stream, and why it ended, if it did."""

    text: str = ""
    usage: Usage = Usage()
    ended_by: str | None = None


@dataclass(frozen=True)
class Format:
    """A vendor's interface.

    Attributes:
        address: where it is; `{model}` and `{method}` are filled in.
        key: the environment variable that holds the key.
        headers: of a key.
        request: the JSON body of a wish, streamed or not.
        reply: what a whole answer says.
        event: what one event of a stream says.
        methods: what `{method}` is for a whole answer and for a stream.
        settings: those of `Wish` that it understands.
    """

    address: str
    key: str
    headers: Callable[[str], dict[str, str]]
    request: Callable[[Wish, bool], dict[str, Any]]
    reply: Callable[[Mapping[str, Any]], Piece]
    event: Callable[[Mapping[str, Any]], Piece]
    methods: tuple[str, str] = ("", "")
    settings: frozenset[str] = frozenset({"max_tokens", "temperature", "top_p", "stop"})


def _said(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, (), [])}


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _plain(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _system_apart(messages: Sequence[Message]) -> tuple[str, list[dict[str, Any]]]:
    system = "\n\n".join(str(message["content"]) for message in messages if message["role"] == "system")
    return system, _plain([message for message in messages if message["role"] != "system"])


def _counted(usage: Any, read: str, written: str) -> Usage:
    found = usage if isinstance(usage, Mapping) else {}
    return Usage(int(found.get(read) or 0), int(found.get(written) or 0))


# OpenAI, and the many servers that speak as it does ------------------------------------------------------------------


def _openai_request(wish: Wish, stream: bool, limit: str = "max_completion_tokens") -> dict[str, Any]:
    body = _said(temperature=wish.temperature, top_p=wish.top_p, stop=list(wish.stop), seed=wish.seed)
    if wish.max_tokens is not None:
        body[limit] = wish.max_tokens
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return {"model": wish.model, "messages": _plain(wish.messages), **body, **more}


def _openai_usage(data: Mapping[str, Any]) -> Usage:
    return _counted(data.get("usage"), "prompt_tokens", "completion_tokens")


def _openai_reply(data: Mapping[str, Any]) -> Piece:
    choice = data["choices"][0]
    return Piece(choice["message"].get("content") or "", _openai_usage(data), choice.get("finish_reason"))


def _openai_event(data: Mapping[str, Any]) -> Piece:
    choices = data.get("choices") or [{}]
    text = (choices[0].get("delta") or {}).get("content") or ""
    return Piece(text, _openai_usage(data), choices[0].get("finish_reason"))


# Anthropic -----------------------------------------------------------------------------------------------------------

ANSWER = 1024
"""Tokens of an answer where the vendor wants a limit and nobody said one."""


def _anthropic_request(wish: Wish, stream: bool) -> dict[str, Any]:
    system, messages = _system_apart(wish.messages)
    body = _said(
        system=system or None, temperature=wish.temperature, top_p=wish.top_p, top_k=wish.top_k,
        stop_sequences=list(wish.stop), stream=stream or None,
    )  # fmt: skip
    return {"model": wish.model, "messages": messages, "max_tokens": wish.max_tokens or ANSWER, **body}


def _anthropic_reply(data: Mapping[str, Any]) -> Piece:
    text = "".join(part["text"] for part in data["content"] if part.get("type") == "text")
    return Piece(text, _counted(data.get("usage"), "input_tokens", "output_tokens"), data.get("stop_reason"))


def _anthropic_event(data: Mapping[str, Any]) -> Piece:
    kind = data.get("type")
    if kind == "message_start":
        return Piece(usage=Usage(_counted(data["message"].get("usage"), "input_tokens", "output_tokens").read))
    if kind == "content_block_delta":
        return Piece(data["delta"].get("text") or "")
    if kind == "message_delta":
        written = _counted(data.get("usage"), "input_tokens", "output_tokens").written
        return Piece(usage=Usage(written=written), ended_by=data["delta"].get("stop_reason"))
    return Piece()


# Google --------------------------------------------------------------------------------------------------------------


def _google_request(wish: Wish, stream: bool) -> dict[str, Any]:
    system, messages = _system_apart(wish.messages)
    roles = {"assistant": "model"}
    body: dict[str, Any] = {
        "contents": [{"role": roles.get(m["role"], m["role"]), "parts": [{"text": m["content"]}]} for m in messages]
    }
    if system:
        body["systemInstruction"] = {"parts": [{"text": system}]}
    settings = _said(
        maxOutputTokens=wish.max_tokens, temperature=wish.temperature, topP=wish.top_p, topK=wish.top_k,
        stopSequences=list(wish.stop), seed=wish.seed,
    )  # fmt: skip
    return body | ({"generationConfig": settings} if settings else {})


def _google_reply(data: Mapping[str, Any]) -> Piece:
    candidates = data.get("candidates") or [{}]
    parts = (candidates[0].get("content") or {}).get("parts") or []
    usage = _counted(data.get("usageMetadata"), "promptTokenCount", "candidatesTokenCount")
    return Piece("".join(part.get("text") or "" for part in parts), usage, candidates[0].get("finishReason"))


def _google_event(data: Mapping[str, Any]) -> Piece:
    piece = _google_reply(data)
    # Every event counts anew from the beginning; the last one counts.
    return piece if piece.ended_by else Piece(piece.text)


# Cohere --------------------------------------------------------------------------------------------------------------


def _cohere_request(wish: Wish, stream: bool) -> dict[str, Any]:
    body = _said(
        max_tokens=wish.max_tokens, temperature=wish.temperature, p=wish.top_p, k=wish.top_k,
        stop_sequences=list(wish.stop), seed=wish.seed,
    )  # fmt: skip
    return {"model": wish.model, "messages": _plain(wish.messages), "stream": stream, **body}


def _cohere_usage(usage: Any) -> Usage:
    return _counted((usage or {}).get("tokens"), "input_tokens", "output_tokens")


def _cohere_reply(data: Mapping[str, Any]) -> Piece:
    text = "".join(part["text"] for part in data["message"]["content"] if part.get("type") == "text")
    return Piece(text, _cohere_usage(data.get("usage")), data.get("finish_reason"))


def _cohere_event(data: Mapping[str, Any]) -> Piece:
    if data.get("type") == "content-delta":
        return Piece(data["delta"]["message"]["content"].get("text") or "")
    if data.get("type") == "message-end":
        return Piece(usage=_cohere_usage(data["delta"].get("usage")), ended_by=data["delta"].get("finish_reason"))
    return Piece()


SAMPLING = frozenset({"max_tokens", "temperature", "top_p", "stop"})

FORMATS = {
    "openai": Format(
        "https://api.openai.com/v1/chat/completions", "OPENAI_API_KEY", _bearer,
        _openai_request, _openai_reply, _openai_event, settings=SAMPLING | {"seed"},
    ),
    "compatible": Format(
        "{base}/chat/completions", "MODUFORMER_HOSTED_KEY", _bearer,
        lambda wish, stream: _openai_request(wish, stream, "max_tokens"), _openai_reply, _openai_event,
        settings=SAMPLING | {"seed"},
    ),
    "anthropic": Format(
        "https://api.anthropic.com/v1/messages", "ANTHROPIC_API_KEY",
        lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
        _anthropic_request, _anthropic_reply, _anthropic_event, settings=SAMPLING | {"top_k"},
    ),
    "google": Format(
        "https://generativelanguage.googleapis.com/v1beta/models/{model}:{method}", "GEMINI_API_KEY",
        lambda key: {"x-goog-api-key": key}, _google_request, _google_reply, _google_event,
        ("generateContent", "streamGenerateContent?alt=sse"), SAMPLING | {"top_k", "seed"},
    ),
    "cohere": Format(
        "https://api.cohere.com/v2/chat", "COHERE_API_KEY", _bearer,
        _cohere_request, _cohere_reply, _cohere_event, settings=SAMPLING | {"top_k", "seed"},
    ),
}  # fmt: skip
"""The interfaces by the name before the colon of a model: "openai:gpt-4". "compatible" is any server that speaks like
OpenAI's: "compatible:http://127.0.0.1:8080/v1#model"."""
