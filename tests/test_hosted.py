"""Models behind interfaces, against a server of the tests that speaks each vendor's wire format."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import moduformer as mf
from moduformer.errors import HostedError, PipelineError
from moduformer.hosted.client import Client
from moduformer.hosted.formats import FORMATS, Usage, Wish

KEY = "sk-secret-0123456789"
TEXT = "안녕하세요, world — 👋"
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]


def sse(*events: dict[str, Any], done: bool = False) -> bytes:
    lines = [
        f"event: {event.get('type', 'message')}\ndata: {json.dumps(event, ensure_ascii=False)}\n" for event in events
    ]
    return "\n".join([*lines, "data: [DONE]\n" if done else ": the end\n"]).encode()


def parts(text: str) -> list[str]:
    return [text[:2], text[2:9], text[9:]]


# What each vendor answers, as its public reference shows it.
OPENAI = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}  # fmt: skip
OPENAI_STREAM = sse(
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}], "usage": None},
    *[{"choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]} for part in parts(TEXT)],
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}},
    done=True,
)
ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-2", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": TEXT}], "usage": {"input_tokens": 11, "output_tokens": 7},
}  # fmt: skip
ANTHROPIC_STREAM = sse(
    {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 11, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": p}} for p in parts(TEXT)],
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
)


def _google(text: str, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, **more}]}


GOOGLE_USAGE = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
GOOGLE = _google(TEXT, finishReason="STOP") | {"usageMetadata": GOOGLE_USAGE}
GOOGLE_STREAM = sse(
    *[_google(part) | {"usageMetadata": {"promptTokenCount": 11}} for part in parts(TEXT)[:2]],
    _google(parts(TEXT)[2], finishReason="STOP") | {"usageMetadata": GOOGLE_USAGE},
)
COHERE = {
    "id": "1", "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
    "usage": {"billed_units": {"input_tokens": 3}, "tokens": {"input_tokens": 11, "output_tokens": 7}},
}  # fmt: skip
COHERE_STREAM = sse(
    {"type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    *[{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": p}}}} for p in parts(TEXT)],
    {"type": "content-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE["usage"]}},
)
WIRE = {
    "openai": (OPENAI, OPENAI_STREAM),
    "compatible": (OPENAI, OPENAI_STREAM),
    "anthropic": (ANTHROPIC, ANTHROPIC_STREAM),
    "google": (GOOGLE, GOOGLE_STREAM),
    "cohere": (COHERE, COHERE_STREAM),
}

Answering = Callable[["Server", dict[str, Any]], tuple[int, dict[str, str], bytes]]


class Server:
    """Answers POSTs; `seen` are paths, headers and bodies."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answer: Answering = lambda server, body: (200, {}, b"{}")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status, headers, content = outer.answer(outer, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                # One byte at a time: characters and lines are split wherever they can be.
                for byte in content if len(content) < 5000 else [content]:
                    self.wfile.write(bytes([byte]) if isinstance(byte, int) else byte)
                    self.wfile.flush()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor in FORMATS.values():
        monkeypatch.setenv(vendor.key, KEY)


def moved(monkeypatch: pytest.MonkeyPatch, vendor: str, server: Server) -> str:
    """The name of a model of a vendor, whose interface is the tests' server."""
    from dataclasses import replace
    from urllib.parse import urlsplit

    if vendor == "compatible":
        return f"compatible:{server.address}/v1#tiny"
    own = FORMATS[vendor]
    path = own.address.removeprefix(f"https://{urlsplit(own.address.split('{')[0]).hostname}")
    monkeypatch.setitem(FORMATS, vendor, replace(own, address=server.address + path))
    return f"{vendor}:tiny"


def serving(vendor: str) -> Answering:
    whole, stream = WIRE[vendor]

    def answer(server: Server, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        streamed = body.get("stream") or "stream" in server.seen[-1][0]
        return 200, {}, stream if streamed else json.dumps(whole).encode()

    return answer


@pytest.mark.parametrize("vendor", list(FORMATS))
def test_each_vendors_wire_format(vendor: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = serving(vendor)
    client = Client(moved(monkeypatch, vendor, server))
    wish = Wish("tiny", QUESTION, max_tokens=20, temperature=0.5, top_p=0.9, stop=("END",))
    answer = client.ask(wish)
    assert (answer.text, answer.usage) == (TEXT, Usage(11, 7))
    assert answer.ended_by
    pieces = list(client.stream(wish))
    assert "".join(piece.text for piece in pieces) == TEXT
    assert [piece.text for piece in pieces if piece.text] == parts(TEXT)
    assert client.usage == Usage(22, 14)
    path, headers, body = server.seen[0]
    text = json.dumps(body, ensure_ascii=False)
    assert "Be brief." in text
    assert "Say hello." in text
    assert '"END"' in text
    assert KEY not in path
    assert KEY not in text
    assert sum(KEY in value for value in headers.values()) == 1
    expected = {
        "openai": ("/v1/chat/completions", "max_completion_tokens"),
        "compatible": ("/v1/chat/completions", "max_tokens"),
        "anthropic": ("/v1/messages", "max_tokens"),
        "google": ("/v1beta/models/tiny:generateContent", None),
        "cohere": ("/v2/chat", "max_tokens"),
    }[vendor]
    assert path == expected[0]
    limit = body["generationConfig"]["maxOutputTokens"] if expected[1] is None else body[expected[1]]
    assert limit == 20
    assert [message["role"] for message in body.get("messages", body.get("contents"))][-1] == "user"
    if vendor == "anthropic":
        assert body["system"] == "Be brief."
        assert headers["anthropic-version"] == "2023-06-01"
    if vendor == "google":
        assert server.seen[1][0] == "/v1beta/models/tiny:streamGenerateContent?alt=sse"


def test_the_pipeline_of_a_hosted_model_has_the_shapes_of_the_others(server: Server) -> None:
    server.answer = serving("compatible")
    pipe: Any = mf.pipeline("text-generation", f"compatible:{server.address}/v1#tiny", prices=(10.0, 30.0))
    assert pipe("Hello") == [{"generated_text": "Hello" + TEXT}]
    assert pipe("Hello", return_full_text=False, max_new_tokens=5) == [{"generated_text": TEXT}]
    assert pipe(["a", "b"]) == [[{"generated_text": "a" + TEXT}], [{"generated_text": "b" + TEXT}]]
    conversation = [*QUESTION, {"role": "assistant", "content": TEXT}]
    assert pipe(QUESTION) == [{"generated_text": conversation}]
    assert "".join(pipe.stream("Hello", do_sample=False)) == TEXT
    assert server.seen[-1][2]["temperature"] == 0
    details = pipe("Hello", details=True)[0]
    assert (details["usage"], details["ended_by"]) == ({"read": 11, "written": 7}, "stop")
    assert details["cost"] == pytest.approx((11 * 10 + 7 * 30) / 1e6)
    assert pipe.usage == Usage(7 * 11, 7 * 7)
    assert pipe.cost == pytest.approx(7 * details["cost"])
    assert "sent to compatible" in pipe.notes[0]


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_a_busy_server_is_asked_again_with_growing_waits(status: int, server: Server) -> None:
    whole = serving("compatible")

    def answer(own: Server, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        busy = {"Retry-After": "7"} if len(own.seen) == 2 else {}
        return (status, busy, b'{"error": {"message": "busy"}}') if len(own.seen) < 4 else whole(own, body)

    server.answer, waits = answer, []
    client = Client(f"compatible:{server.address}#tiny", sleep=waits.append)
    assert client.ask(Wish("tiny", QUESTION)).text == TEXT
    assert waits[1] == 7
    assert 0.5 <= waits[0] <= 1
    assert 2 <= waits[2] <= 4
    server.seen.clear()
    server.answer = lambda own, body: (status, {}, b"")
    with pytest.raises(HostedError, match=f"status {status}, 3 times; try again later"):
        Client(f"compatible:{server.address}#tiny", retries=2, sleep=waits.append).ask(Wish("tiny", QUESTION))
    assert len(server.seen) == 3


def test_what_cannot_be_is_refused_at_once(server: Server) -> None:
    client = Client(f"compatible:{server.address}#tiny", sleep=lambda wait: pytest.fail("it was asked again"))
    for status, words in ((401, "is the key in MODUFORMER_HOSTED_KEY right"), (404, "model's name"), (400, "too long")):
        server.answer = lambda own, body, status=status: (status, {}, b'{"error": {"message": "too long"}}')
        with pytest.raises(HostedError, match=words):
            client.ask(Wish("tiny", QUESTION))
    server.answer = lambda own, body: (307, {"Location": "http://127.0.0.1:9/steal"}, b"")
    with pytest.raises(HostedError, match="redirects elsewhere"):
        client.ask(Wish("tiny", QUESTION))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "no JSON object"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'{"choices": []}', "not its published one"),
        (b'{"choices": [{"message": 3}]}', "not its published one"),
        (b'{"x": "' + b"a" * (17 << 20), "more than 16,777,216 bytes"),
    ],
    ids=["html", "list", "deep", "empty", "odd", "endless"],
)
def test_odd_answers_are_errors(content: bytes, words: str, server: Server) -> None:
    server.answer = lambda own, body: (200, {}, content)
    with pytest.raises(HostedError, match=words):
        Client(f"compatible:{server.address}#tiny").ask(Wish("tiny", QUESTION))


def test_a_stream_that_breaks_off_or_fails_is_an_error(server: Server) -> None:
    cut = OPENAI_STREAM.partition(b'"stop"')[0].rpartition(b"\n")[0]
    client = Client(f"compatible:{server.address}#tiny")
    for content, words in ((cut, "broke off"), (sse({"error": {"message": "overloaded"}}), "stopped: overloaded")):
        server.answer = lambda own, body, content=content: (200, {}, content)
        with pytest.raises(HostedError, match=words):
            list(client.stream(Wish("tiny", QUESTION)))


def test_a_silent_server_is_not_waited_for(server: Server) -> None:
    held = threading.Event()
    server.answer = lambda own, body: (held.wait(30), (200, {}, b"{}"))[1]
    with pytest.raises(HostedError, match=r"did not answer within 0\.2 s, 2 times"):
        Client(f"compatible:{server.address}#tiny", timeout=0.2, retries=1, sleep=lambda wait: None).ask(
            Wish("tiny", QUESTION)
        )
    held.set()


def test_the_key_is_nowhere_but_in_its_header(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = lambda own, body: (400, {}, json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())
    with caplog.at_level(logging.DEBUG):
        pipe: Any = mf.pipeline(model=f"compatible:{server.address}#tiny")
        with pytest.raises(HostedError) as caught:
            pipe("Hello")
    assert KEY not in str(caught.value)
    assert KEY not in repr(pipe.client)
    assert KEY not in caplog.text


def test_keys_and_addresses_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (
        ("compatible:http://example.org/v1#m", "not encrypted"),
        ("compatible:https://user:pw@example.org#m", "no password in it"),
        ("compatible:file:///etc/passwd#m", "no address|not encrypted"),
        ("compatible:http://127.0.0.1:1/v1", "name the model"),
        ("openai:", "names no hosted model"),
    ):
        with pytest.raises(HostedError, match=words):
            Client(name)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(HostedError, match="OPENAI_API_KEY"):
        mf.pipeline(model="openai:gpt-4")
    monkeypatch.setenv("OPENAI_API_KEY", "a\nX-Header: b")
    with pytest.raises(HostedError, match="odd characters"):
        mf.pipeline(model="openai:gpt-4")
    with pytest.raises(PipelineError, match="generates text"):
        mf.pipeline("fill-mask", model="openai:gpt-4")


def test_options_that_are_none_are_named(server: Server) -> None:
    pipe: Any = mf.pipeline(model=f"compatible:{server.address}#tiny")
    with pytest.raises(HostedError, match="did you mean temperature"):
        pipe("Hello", temprature=1)
    with pytest.raises(HostedError, match="has no setting top_k"):
        pipe("Hello", top_k=5)
    with pytest.raises(HostedError, match="message 0 needs a role"):
        pipe([{"role": "robot", "content": "x"}])
    with pytest.raises(HostedError, match="message 0"):
        pipe("  ")
    assert server.seen == []
