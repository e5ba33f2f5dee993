"""A real memcached that a test can stop, pause and restart empty."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import Self

from local_redis import BUSY_MACHINE_TIMEOUT, STARTED_WITHIN
from ports import reserved_port


class LocalMemcached:
    """One server process on a loopback port of its own, which stays the same over ``stop`` and ``start``."""

    def __init__(self, *options: str) -> None:
        self._binary = os.environ.get("MEMCACHED") or shutil.which("memcached")
        if self._binary is None:
            import pytest  # here, since the smoke tests of the extras have none

            pytest.skip("no memcached on this machine: make peers installs Debian's")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._claim = ExitStack()
        self.port = self._claim.enter_context(reserved_port())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and return when it answers."""
        assert self._binary is not None
        command = [self._binary, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "16", *self._options]
        if os.getuid() == 0:
            command += ["-u", pwd.getpwuid(0).pw_name]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"memcached ended on port {self.port}"
            try:
                if self.command("version").startswith(b"VERSION"):
                    return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"memcached did not answer within {STARTED_WITHIN:.0f} s")

    def stop(self) -> None:
        """Kill the server and lose what it held. Does nothing when it is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Hang: connections are still accepted by the kernel, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # a signal is sent at once, and obeyed a little later

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, line: str) -> bytes:
        """Send one command and return the first line of its reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=STARTED_WITHIN) as connection:
            connection.sendall(line.encode() + b"\r\n")
            return connection.makefile("rb").readline().strip()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._claim.close()


def memcached_url(*servers: LocalMemcached) -> str:
    """The URL of an exact cache whose speed is not what a test is about."""
    return f"memcached://{','.join(server.address for server in servers)}?timeout={BUSY_MACHINE_TIMEOUT:g}"
