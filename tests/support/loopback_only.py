"""Tests never leave the machine: every other address is refused before a packet is sent."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest


class NetworkBlocked(RuntimeError):
    """A test tried to reach another machine. Not an ``OSError``: clients retry those, and would hide it."""

    def __init__(self, host: object) -> None:
        super().__init__(f"a test tried to reach {host!r}, but tests may only use loopback addresses and Unix sockets")


def block_other_hosts(patch: pytest.MonkeyPatch) -> None:
    """Make ``connect`` and name resolution raise :class:`NetworkBlocked` for everything that is not this machine."""
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _check_address(self, address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _check_address(self, address)
        return connect_ex(self, address)

    def guarded_resolve(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
        _check_host(host)
        return resolve(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_resolve)


def _check_address(connection: socket.socket, address: Any) -> None:
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        _check_host(address[0])


def _check_host(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is not None and name not in ("", "localhost") and not _is_local(name):
        raise NetworkBlocked(name)


def _is_local(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
