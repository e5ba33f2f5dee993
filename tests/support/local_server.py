"""A real server process that a test can stop, pause and restart."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Self

from ports import reserved_port

STARTED_WITHIN = 60.0  # seconds; a busy two-core machine is slow to start even Redis


class LocalServer(ABC):
    """One process on a loopback port of its own, which stays the same over ``stop`` and ``start``.

    It keeps nothing: stopping it loses everything. Clients see one server that went away and came back.

    Attributes:
        name: of the program, for errors.
        greeting: a command, and how the answer to it begins once the server has started.
        also: a further port, so far from its own, which the server takes too.
    """

    name: str
    greeting: tuple[str, bytes]
    also = 0

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._claim = ExitStack()
        self.port = self._claim.enter_context(reserved_port(also=self.also))

    @abstractmethod
    def _command_line(self) -> list[str]:
        """What starts it."""

    def start(self) -> None:
        """Start the server and return when it answers. Does nothing while it runs."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            self._command_line(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Kill the server: connections break, new ones are refused. Does nothing when it is stopped."""
        if self._process is None:
            return
        self._process.kill()  # also ends a paused process, which a polite request does not
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Hang: connections are still accepted by the kernel, nothing is answered."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # a signal is sent at once, and obeyed a little later

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def command(self, *words: str) -> bytes:
        """Send one command and return its one-line reply, so that fixtures need no client library."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=STARTED_WITHIN) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.makefile("rb").readline().strip()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._claim.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"this {self.name} is stopped")
        return self._process

    def _wait_until_it_answers(self) -> None:
        command, answer = self.greeting
        deadline = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < deadline:
            if (code := self._running().poll()) is not None:
                self._process = None
                raise RuntimeError(f"{self.name} ended with exit code {code} on port {self.port}")
            try:
                if self.command(command).startswith(answer):
                    return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self.name} did not answer within {STARTED_WITHIN:.0f} s")
