"""A real memcached that a test can stop, pause and restart empty."""

from __future__ import annotations

import os
import pwd
import shutil

from local_redis import BUSY_MACHINE_TIMEOUT
from local_server import LocalServer


class LocalMemcached(LocalServer):
    """One server."""

    name, greeting = "memcached", ("version", b"VERSION")

    def __init__(self, *options: str) -> None:
        self._binary = os.environ.get("MEMCACHED") or shutil.which("memcached")
        if self._binary is None:
            import pytest  # here, since the smoke tests of the extras have none

            pytest.skip("no memcached on this machine: make peers installs Debian's")
        self._options = options
        super().__init__()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _command_line(self) -> list[str]:
        assert self._binary is not None
        command = [self._binary, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "16", *self._options]
        return [*command, "-u", pwd.getpwuid(0).pw_name] if os.getuid() == 0 else command


def memcached_url(*servers: LocalMemcached) -> str:
    """The URL of an exact cache whose speed is not what a test is about."""
    return f"memcached://{','.join(server.address for server in servers)}?timeout={BUSY_MACHINE_TIMEOUT:g}"
