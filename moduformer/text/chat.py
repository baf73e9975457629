"""Chat templates: from messages to one prompt, and to token ids, without trusting template or messages.

A chat template is a Jinja program out of somebody's checkpoint. It runs in a child process (`template_worker`) inside
an immutable sandbox, and the child is killed when it takes longer than a second. The format is that of
https://huggingface.co/docs/transformers/chat_templating.

Control tokens in the ids come from the template only. Before rendering, every piece of message text that is (or, put
next to another piece, could become) a control token is written in stand-in characters; after rendering, control tokens
spelled in plain characters are the template's own. See `encode_chat`.
"""

import atexit
import contextlib
import json
import os
import queue
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import TextError
from .tokenizer import Tokenizer

TIME_LIMIT = 0.9
OUTPUT_LIMIT = 16 * 2**20
START_LIMIT = 20.0
INPUT_LIMIT = 64 * 2**20
MAX_TEMPLATE = 1 * 2**20
WORKERS = 4

#: Who may speak. A role becomes part of control tokens in some templates (`<|user|>`), so it is no free text.
ROLES = frozenset(
    {"system", "developer", "user", "assistant", "model", "tool", "function", "ipython", "observation", "environment"}
)

_MEANING = {
    "output": f"it writes more than {OUTPUT_LIMIT // 2**20} MiB",
    "memory": "it needs too much memory",
    "recursion": "it recurses too deeply",
    "security": "it asks for something the sandbox forbids",
    "syntax": "it is not a valid template",
    "template": "it stopped",
}


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    add_generation_prompt: bool = False,
    **values: Any,
) -> str:
    """Render a chat template.

    Args:
        template: the Jinja source, `Tokenizer.chat_template`.
        messages: `{"role": ..., "content": ...}` in order; plain JSON values only.
        add_generation_prompt: end with the beginning of the assistant's turn.
        values: further names for the template: `bos_token`, `eos_token`, `tools`, `documents`, ...

    Returns:
        the prompt.

    Raises:
        TextError: the template is invalid, forbidden, too slow (about a second) or writes too much; messages that are
            not plain data; or the template itself refuses the messages.
    """
    return _render(template, list(messages), add_generation_prompt, values)


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    add_generation_prompt: bool = False,
    *,
    template: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    continue_final_message: bool = False,
    **values: Any,
) -> list[int]:
    """Render a conversation and encode it; control tokens come from the template, never from message contents.

    Where no message contains a control token the ids are those of `transformers`' `apply_chat_template`, except that
    exactly one BOS stands at the front when the tokenizer frames text with BOS. One exception is deliberate: added
    tokens that are not special (`<think>`) keep their meaning in messages of the role `assistant`, which the model
    itself wrote.

    Args:
        tokenizer: with a chat template, unless one is given.
        messages: `{"role": ..., "content": ...}` in order; roles are those of `ROLES`.
        add_generation_prompt: end with the beginning of the assistant's turn.
        template: instead of the tokenizer's own.
        tools: JSON schemas of functions the model may call.
        continue_final_message: end right after the last message's content, so that the model goes on with it.
        values: further names for the template.

    Returns:
        token ids.

    Raises:
        TextError: see `render`; also an unknown role, or a tokenizer without a chat template.
    """
    source = template if template is not None else tokenizer.chat_template
    if source is None:
        raise TextError("this tokenizer has no chat template; give one with `template=`.")
    named = {f"{role}_token": token for role, token in tokenizer.special_tokens.items()}
    special = {
        token.content
        for token in tokenizer.to_tokenizers().get_added_tokens_decoder().values()
        if token.special and token.content
    }
    guard = _Guard(tokenizer.control_tokens, special, [messages, tools, values])
    guarded = [guard.message(message) for message in messages]
    inputs = {name: guard.value(value, guard.control) for name, value in values.items()}
    inputs["tools"] = None if tools is None else guard.value(list(tools), guard.control)
    if continue_final_message and add_generation_prompt:
        raise TextError("a conversation goes on with its last message or with a new one, not with both.")
    text = _render(source, guarded, add_generation_prompt, {**named, **inputs})
    if continue_final_message:
        text = _until_last_content(text, guarded)
    return _one_bos(tokenizer, guard.encode(tokenizer, text))


def _until_last_content(text: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """A rendered conversation without what the template writes after the last message's content."""
    content = messages[-1].get("content") if messages else None
    if not isinstance(content, str) or not content.strip():
        raise TextError("the last message has no text to go on with; write some, or end with the user's message.")
    place = text.rfind(content.strip())
    if place < 0:
        raise TextError("the chat template changes the last message's text, so it cannot be gone on with.")
    whole = content.lstrip()
    # Some templates strip a message; the space at its end is then not there to be kept.
    return text[: place + len(whole if text.startswith(whole, place) else content.strip())]


def _one_bos(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    bos = tokenizer.bos_id
    if bos is None:
        return ids
    start = 0
    while start < len(ids) and ids[start] == bos:
        start += 1
    frame = tokenizer.frame()
    framed = bool(frame) and frame[0].token_id == bos
    return [bos] * (start > 0 or framed) + ids[start:]


class _Guard:
    """Writes control tokens inside message text in stand-in characters, and reads them back."""

    def __init__(self, control: Iterable[str], special: Iterable[str], contents: Any) -> None:
        self.control = tuple(sorted((token for token in control if token), key=lambda token: (-len(token), token)))
        self.special = tuple(token for token in self.control if token in set(special))
        alphabet = sorted({character for token in self.control for character in token})
        base = _free_block(contents, len(alphabet))
        self._hide = {ord(character): base + index for index, character in enumerate(alphabet)}
        self._show = {stand_in: character for character, stand_in in self._hide.items()}

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message whose role is checked and whose other values are guarded."""
        if not isinstance(message, Mapping):
            raise TextError(f"a message is {type(message).__name__}, not an object with `role` and `content`.")
        role = message.get("role")
        if role not in ROLES:
            raise TextError(f"the role {str(role)[:40]!r} is unknown; roles are {', '.join(sorted(ROLES))}.")
        tokens = self.special if role == "assistant" else self.control
        rest = {key: value for key, value in message.items() if key != "role"}
        return {"role": role, **self.value(rest, tokens)}

    def value(self, value: Any, tokens: tuple[str, ...], depth: int = 0) -> Any:
        """The value with every string guarded; `type` fields name kinds of content and stay as they are."""
        if depth > 100:
            raise TextError("the messages are nested more than 100 deep.")
        if isinstance(value, str):
            return self.text(value, tokens)
        if isinstance(value, Mapping):
            return {
                self._whole(key, tokens) if isinstance(key, str) else key: item
                if key == "type" and isinstance(item, str) and item.isidentifier()
                else self.value(item, tokens, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(item, tokens, depth + 1) for item in value]
        return value

    def text(self, text: str, tokens: tuple[str, ...]) -> str:
        """Hide whole control tokens, and at both ends what a neighbouring field could complete to one."""
        if not text or not tokens:
            return text
        text = self._whole(text, tokens)
        fragments = _fragments(tokens)
        tail = next((n for n in range(min(len(text), fragments.longest), 0, -1) if text[-n:] in fragments.heads), 0)
        if tail:
            text = text[:-tail] + text[-tail:].translate(self._hide)
        head = next((n for n in range(min(len(text), fragments.longest), 0, -1) if text[:n] in fragments.tails), 0)
        if head:
            text = text[:head].translate(self._hide) + text[head:]
        if len(text) < fragments.longest and text in fragments.joined:
            text = text.translate(self._hide)
        return text

    def _whole(self, text: str, tokens: tuple[str, ...]) -> str:
        # Overlapping tokens hide each other's beginning, so look again until none is left.
        pattern = _alternatives(tokens)
        while pattern.search(text):
            text = pattern.sub(lambda match: match.group().translate(self._hide), text)
        return text

    def encode(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """Ids of a rendered conversation: plain control tokens are control tokens, hidden ones are text."""
        parts: list[tuple[str, bool]] = []
        end = 0
        for match in _alternatives(self.control).finditer(text) if self.control else ():
            parts += [(text[end : match.start()].translate(self._show), False), (match.group(), True)]
            end = match.end()
        return tokenizer.encode_parts([*parts, (text[end:].translate(self._show), False)])


@dataclass(frozen=True)
class _Fragments:
    """Proper beginnings, proper ends and the whole of some tokens, to be looked up quickly."""

    heads: frozenset[str]
    tails: frozenset[str]
    joined: str
    longest: int


@lru_cache(maxsize=64)
def _fragments(tokens: tuple[str, ...]) -> _Fragments:
    return _Fragments(
        heads=frozenset(token[:length] for token in tokens for length in range(1, len(token))),
        tails=frozenset(token[length:] for token in tokens for length in range(1, len(token))),
        joined="\0".join(tokens),
        longest=max(map(len, tokens)),
    )


@lru_cache(maxsize=64)
def _alternatives(tokens: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _free_block(contents: Any, size: int) -> int:
    """The first of a run of private-use characters that appear in none of the contents."""
    used: set[str] = set()
    waiting = [contents]
    # Messages may contain themselves; that is refused later, not walked forever here.
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping | list | tuple):
            if id(value) in seen:
                continue
            seen.add(id(value))
        if isinstance(value, str):
            if not value.isascii():
                used.update(character for character in value if character >= "\U000f0000")
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
    for base in range(0xF0000, 0x10FFFF - size, max(size, 1)):
        if not any(base <= ord(character) < base + size for character in used):
            return base
    raise TextError("the messages use every private character of Unicode; remove those characters.")


# -- running templates ------------------------------------------------------------------------------------------------


def _render(template: str, messages: list[Any], add_generation_prompt: bool, values: dict[str, Any]) -> str:
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE:
        raise TextError(f"a chat template is a string of at most {MAX_TEMPLATE:,} characters.")
    everything = {**values, "messages": messages, "add_generation_prompt": bool(add_generation_prompt)}
    for name in ("tools", "documents"):
        everything.setdefault(name, None)
    try:
        request = json.dumps({"template": template, "values": everything, "limit": OUTPUT_LIMIT}, default=_refuse)
    except (ValueError, TypeError, RecursionError) as error:
        raise TextError(f"the messages are not plain JSON data: {str(error)[:200]}") from None
    if len(request) > INPUT_LIMIT:
        raise TextError(f"the messages take {len(request):,} bytes; {INPUT_LIMIT:,} are allowed.")
    reply = _pool().ask(request.encode("ascii"))
    if "text" in reply:
        return reply["text"]
    detail = f" ({reply['message']})" if reply.get("message") else ""
    raise TextError(f"the chat template cannot be rendered: {_MEANING.get(reply['error'], 'it stopped')}{detail}.")


def _refuse(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a message")


class _Worker:
    """One child process and the thread that reads its replies."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("template_worker.py")
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TZ", "LANG", "LC_ALL") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script), json.dumps([entry for entry in sys.path if entry])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept,
        )
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="chat-template-replies", daemon=True).start()
        if self._next(START_LIMIT) is None:
            self.stop()
            raise TextError("the process that renders chat templates did not start; is `jinja2` installed?")

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        try:
            while len(head := stream.read(4)) == 4:
                (length,) = struct.unpack(">I", head)
                # JSON writes a character in at most twelve bytes.
                if length > 12 * OUTPUT_LIMIT + 4096:
                    break
                self._replies.put(stream.read(length))
        except (OSError, ValueError):
            pass
        self._replies.put(None)

    def _next(self, seconds: float) -> bytes | None:
        try:
            return self._replies.get(timeout=seconds)
        except queue.Empty:
            return None

    def ask(self, request: bytes, seconds: float) -> bytes | None:
        """The reply, or None when it did not come in time; the worker is then of no more use."""
        deadline = time.monotonic() + seconds
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.write(struct.pack(">I", len(request)) + request)
            stream.flush()
        except (OSError, ValueError):
            return None
        return self._next(max(0.01, deadline - time.monotonic()))

    def stop(self) -> None:
        """Kill the child and wait until it is gone."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()


class _Pool:
    """A few workers, started when needed, so that a slow template holds up nobody else."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._places = threading.Semaphore(WORKERS)

    def ask(self, request: bytes) -> dict[str, Any]:
        with self._places:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or _Worker()
            reply = None
            try:
                reply = worker.ask(request, TIME_LIMIT)
            finally:
                if reply is None:
                    worker.stop()
                else:
                    with self._lock:
                        self._idle.append(worker)
        if reply is None:
            raise TextError(f"the chat template was stopped after {TIME_LIMIT} s; it loops or builds too much.")
        return json.loads(reply)

    def close(self) -> None:
        with self._lock:
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.stop()


_current: _Pool | None = None
_current_lock = threading.Lock()


def _pool() -> _Pool:
    global _current
    with _current_lock:
        # A forked child must not share pipes with its parent.
        if _current is None or _current.owner != os.getpid():
            _current = _Pool()
            atexit.register(_current.close)
        return _current
