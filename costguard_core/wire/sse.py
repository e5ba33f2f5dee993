"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.wire.base import json_object

DONE = b"data: [DONE]\n\n"
"""The last event of OpenAI's chat and completion streams."""


class EventReader:
    """Splits the bytes of a stream into events, each with the bytes that it came in.

    Args:
        most: bytes of one event; a longer one ends the stream.
    """

    def __init__(self, most: int = 16_000_000) -> None:
        self._buffer = b""
        self._most = most

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that are complete with ``data``, each with the blank line that ends it.

        Raises:
            ValueError: an event is longer than allowed.
        """
        buffer = self._buffer + data if self._buffer else data
        start = 0
        while (end := _end(buffer, start)) > 0:
            yield buffer[start:end]
            start = end
        self._buffer = buffer[start:]
        if len(self._buffer) > self._most:
            raise ValueError(f"an event of a stream is longer than {self._most} bytes")

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._buffer


def _end(buffer: bytes, start: int) -> int:
    """Where the event that begins at ``start`` ends; -1: it is not complete."""
    found = [place + len(mark) for mark in (b"\n\n", b"\r\n\r\n", b"\r\r") if (place := buffer.find(mark, start)) >= 0]
    return min(found) if found else -1


def data_of(event: bytes) -> dict[str, Any] | None:
    """The JSON object of an event; ``None`` for comments, for ``[DONE]`` and for what is no JSON object."""
    if event.startswith(b"data: {") and event.count(b"\n") == 2:  # nearly all of them
        text = event[6:]
    else:
        lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        text = b"\n".join([line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")])
    return json_object(text)


def event_of(data: Mapping[str, object], name: str | None = None) -> bytes:
    """A JSON object as an event; ``name`` is its type, where the format gives one."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return b"data: " + text + b"\n\n" if name is None else b"event: " + name.encode() + b"\ndata: " + text + b"\n\n"
