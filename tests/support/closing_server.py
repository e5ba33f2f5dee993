"""A provider on this machine that reads a request and closes the connection instead of answering, or in the middle."""

from __future__ import annotations

import socket
import threading
from typing import Self


class ClosingServer:
    """``with ClosingServer() as server``: ``server.url`` is its root.

    Args:
        begins: what it still sends, once it has read the whole request: the beginning of an answer.
    """

    def __init__(self, begins: bytes = b"") -> None:
        self.requests = 0
        self._begins = begins

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection:
            read = connection.makefile("rb")
            length = 0
            while (line := read.readline().lower()) not in (b"\r\n", b""):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            if len(read.read(length)) == length:
                self.requests += 1
                connection.sendall(self._begins)


def refusing_url() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def _begun(content_type: str, *parts: bytes) -> bytes:
    """The head of an answer that never ends, and the first parts of its body."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


_WORD = b'data: {"id": "1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n'
FIFTY_WORDS = _begun("text/event-stream", *[_WORD] * 50)
"""The beginning of a stream of OpenAI's that breaks."""
