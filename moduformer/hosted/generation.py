"""`mf.pipeline("text-generation", model="openai:gpt-4")`: called as the pipeline for models on this machine is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moduformer.errors import HostedError
from moduformer.hosted.client import Answer, Client
from moduformer.hosted.formats import Usage, Wish

NAMES = {"max_new_tokens": "max_tokens", "stop_strings": "stop", "stop_sequence": "stop"}
SETTINGS = ("max_new_tokens", "max_tokens", "temperature", "top_p", "top_k", "stop", "stop_strings", "stop_sequence",
            "seed", "do_sample", "return_full_text", "prices", "details")  # fmt: skip
ROLES = ("system", "user", "assistant")


class HostedGeneration:
    """Text generation by a model behind an interface. A text is asked as one message of a user.

    Arguments:
        model: see `Client`.
        timeout, retries: see `Client`.
        settings: defaults of every call: `max_new_tokens`, `temperature`, `top_p`, `top_k`, `stop`, `seed`,
            `return_full_text`, `details`; `do_sample=False` asks for temperature 0; `prices` of a million tokens read
            and written make `cost` known.

    `usage` counts the tokens of all calls. Texts leave this machine: the first of `notes` says where they go.
    """

    task = "text-generation"

    def __init__(self, model: str, *, timeout: float = 60.0, retries: int = 4, **settings: Any) -> None:
        self.client = Client(model, timeout, retries)
        self.settings = _known(settings)
        self.notes = [f"texts are sent to {model.partition(':')[0]}, which answers with {self.client.model}"]

    def __call__(self, inputs: Any, **settings: Any) -> Any:
        """A list with `{"generated_text": ...}`, as the pipeline gives; for several inputs a list of such lists.

        `generated_text` begins with the prompt (or holds the messages before the answer) unless
        `return_full_text=False`. With `details` there are also `usage`, `ended_by` and, given `prices`, `cost`.
        """
        chosen = self.settings | _known(settings)
        if _is_one(inputs):
            return [self._shaped(inputs, self.client.ask(_wish(self.client.model, inputs, chosen)), chosen)]
        if not isinstance(inputs, Iterable) or isinstance(inputs, Mapping | str | bytes):
            raise HostedError(f"a prompt is a text or a list of messages, not {type(inputs).__name__}")
        return [self(one, **settings) for one in inputs]

    def stream(self, inputs: Any, **settings: Any) -> Iterator[str]:
        """The answer to one prompt in pieces of whole characters, as they come."""
        if not _is_one(inputs):
            raise HostedError("a stream answers one prompt: a text or a list of messages")
        for piece in self.client.stream(_wish(self.client.model, inputs, self.settings | _known(settings))):
            if piece.text:
                yield piece.text

    @property
    def usage(self) -> Usage:
        """Tokens of all calls so far."""
        return self.client.usage

    @property
    def cost(self) -> float | None:
        """What all calls cost so far by the `prices` given at construction; None without."""
        prices = self.settings.get("prices")
        return None if prices is None else self.usage.cost(prices)

    @staticmethod
    def _shaped(prompt: Any, answer: Answer, settings: Mapping[str, Any]) -> dict[str, Any]:
        full = settings.get("return_full_text", True)
        if isinstance(prompt, str):
            made: dict[str, Any] = {"generated_text": prompt + answer.text if full else answer.text}
        else:
            said = {"role": "assistant", "content": answer.text}
            made = {"generated_text": [*map(dict, prompt), said] if full else answer.text}
        if settings.get("details"):
            made |= {"usage": {"read": answer.usage.read, "written": answer.usage.written}, "ended_by": answer.ended_by}
            if settings.get("prices") is not None:
                made["cost"] = answer.usage.cost(settings["prices"])
        return made


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(SETTINGS)}"
            raise HostedError(f"text generation by a hosted model has no option {name!r}{hint}")
    return {NAMES.get(name, name): value for name, value in settings.items()}


def _is_one(inputs: Any) -> bool:
    if isinstance(inputs, list | tuple):
        return bool(inputs) and isinstance(inputs[0], Mapping)
    return isinstance(inputs, str)


def _wish(model: str, prompt: Any, settings: Mapping[str, Any]) -> Wish:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    for number, message in enumerate(messages):
        right = (
            isinstance(message, Mapping) and message.get("role") in ROLES and isinstance(message.get("content"), str)
        )
        if not right or not message["content"].strip():
            raise HostedError(f"message {number} needs a role ({', '.join(ROLES)}) and a content that is not empty")
    stop = settings.get("stop") or ()
    temperature = settings.get("temperature")
    if settings.get("do_sample") is False:
        if temperature:
            raise HostedError("do_sample=False means temperature 0; leave one of the two out")
        temperature = 0.0
    return Wish(
        model, messages, settings.get("max_tokens"), temperature, settings.get("top_p"), settings.get("top_k"),
        (stop,) if isinstance(stop, str) else tuple(stop), settings.get("seed"),
    )  # fmt: skip
