"""What the proxy asks of a wire format. A format knows JSON, no network and no rule of Costguard."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

Body = Mapping[str, Any]
"""A request or a response as parsed JSON."""


class Said(NamedTuple):
    """One message of a request.

    Attributes:
        role: who says it.
        content: a text, or blocks.
        name: of who says it, where the request names one.
        beside: the message itself, for what stands beside its content: calls of tools, sealed thoughts.
    """

    role: str
    content: Any
    name: str | None = None
    beside: Body = MappingProxyType({})


class Prompt(NamedTuple):
    """What a request asks.

    Attributes:
        messages: in order.
        question: the text of the last message if a user wrote it, else empty.
        tokens: of prompts that were sent as numbers of tokens.
    """

    messages: Sequence[Said]
    question: str = ""
    tokens: int = 0


# Who asks and where it is filed; and what only OpenAI's client for Python gives a meaning to.
_NOT_READ = frozenset("user metadata safety_identifier prompt_cache_key extra_body extra_headers model_kwargs".split())
_LISTS = frozenset(
    "tools functions modalities response_modalities plugins mcp_servers built_in_tools server_tools".split()
)


class Assembly(ABC):
    """Collects the events of a stream into what a plain response would have been."""

    @abstractmethod
    def add(self, event: Body) -> None:
        """Take the next event."""

    @property
    @abstractmethod
    def body(self) -> dict[str, Any] | None:
        """The response so far; ``None`` before the first event."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the stream said that it is complete."""


class WireFormat(ABC):
    """One kind of request.

    Attributes:
        path: below the address of the server, such as ``"/v1/chat/completions"``.
        vendor: whose format it is: ``"openai"`` or ``"anthropic"``.
        kind: of the call, as the ledger knows it.
        streams: whether its answers can be streamed.
        asked_in: fields of a request that hold the prompt.
    """

    path: str
    asked_in: frozenset[str] = frozenset()
    vendor: str = "openai"
    kind: str = "chat"
    streams: bool = True

    @abstractmethod
    def prompt(self, body: Body) -> Prompt:
        """What ``body`` asks. Parts in a wrong shape are read as text: the provider will refuse them."""

    def with_question(self, body: Body, text: str) -> dict[str, object]:
        """The request with ``text`` in place of its question; only for one that has a question."""
        return dict(body)

    def parameters(self, body: Body) -> dict[str, Any]:
        """What the request says beside its messages, as :mod:`costguard_core.usage.parameters` reads it.

        Lists that are none are left out: the provider will refuse them.
        """
        kept = {name: value for name, value in body.items() if name not in self.asked_in and name not in _NOT_READ}
        for name in _LISTS & kept.keys():
            if not isinstance(kept[name], list):
                del kept[name]
        return kept

    def with_limit(self, body: Body, tokens: int) -> dict[str, object]:
        """The request with ``tokens`` as its cap."""
        return dict(body)

    def asks_for_usage(self, body: Body) -> bool:
        """Whether the client wants the usage in its stream; formats that always say it answer yes."""
        return True

    def with_usage(self, body: Body) -> dict[str, object]:
        """A streamed request that asks for the usage."""
        return dict(body)

    def without_usage(self, event: dict[str, object]) -> dict[str, Any] | None:
        """An event of a stream as a client sees it that did not ask for usage; ``None``: it does not see this one."""
        return event

    def assembly(self) -> Assembly:
        """An empty :class:`Assembly`."""
        raise NotImplementedError

    def events(self, response: Body, *, with_usage: bool) -> Iterator[bytes]:
        """A whole response as the server-sent events of a stream."""
        raise NotImplementedError

    @abstractmethod
    def text(self, response: Body) -> str:
        """All that was answered, tool calls included."""

    def finish_reasons(self, response: Body) -> tuple[str, ...]:
        """Why the model stopped, for each answer."""
        return ()

    def refused(self, response: Body) -> bool:
        """Whether the model declined to answer."""
        return False

    def called_tools(self, response: Body) -> tuple[str, ...]:
        """Names of the application's tools that the answer asks to be called."""
        return ()

    def choices(self, body: Body) -> int:
        """How many answers are asked for."""
        return 1

    def is_whole(self, body: Body, response: Body) -> bool:
        """Whether the response has as many answers as were asked for, and all of each."""
        return True

    def blocks(self, response: Body) -> Sequence[object]:
        """Blocks or items of the answer that show what the provider's tools did."""
        return ()

    def usage(self, response: Body) -> Any:
        """The usage as the provider reports it."""
        return response.get("usage")

    def static(self, model: str, text: str, *, id: str, now: int) -> dict[str, object] | None:
        """A response that says ``text``; ``None``: this format has no place for a text."""
        return None

    def error(self, status: int, message: str, code: str) -> dict[str, Any]:
        """An error as this vendor's clients understand it: https://platform.openai.com/docs/guides/error-codes."""
        kind = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "insufficient_quota"}
        default = "server_error" if status >= 500 else "invalid_request_error"
        return {"error": {"message": message, "type": kind.get(status, default), "param": None, "code": code}}


def mappings(value: object) -> list[Mapping[str, object]]:
    """The mappings in a list; nothing of what is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def json_object(text: str | bytes, *, strict: bool = False) -> dict[str, Any] | None:
    """The JSON object that a text is; ``None``: it is something else, no JSON, or nested too deeply to be read.

    Args:
        text: of a request, of a response, or of an event.
        strict: without the numbers that Python reads and JSON does not have: ``NaN`` and ``Infinity``.
    """
    try:
        found = json.loads(text, parse_constant=_refuse if strict else None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def only_text(content: object) -> str:
    """The text of a message's content: a text, or blocks of which some are text."""
    if isinstance(content, str):
        return content
    texts = [str(block.get("text") or "") for block in mappings(content)]
    return "".join(texts)
