"""Where a Redis server is: what a URL says, and what a server says that is not the one to ask."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlunsplit

from costguard_core.errors import ConfigurationError
from costguard_core.util.urls import printable, split

_OWN_TIMEOUTS = ("socket_timeout", "socket_connect_timeout", "retry_on_timeout", "health_check_interval")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_tls")
_DEFAULT_PORT, _DEFAULT_SENTINEL_PORT = 6379, 26_379

Address = tuple[str, int]
"""Host and port."""


def without_options(url: str, names: tuple[str, ...]) -> str:
    """``url`` without the query options called ``names``."""
    parts = split(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in names]
    return urlunsplit(parts._replace(query=urlencode(kept)))


class RedisUrl(NamedTuple):
    """A URL in its parts.

    Attributes:
        kind: ``""`` for one server, ``"sentinel"`` or ``"cluster"``.
        nodes: the server, the sentinels, or nodes of the cluster to begin with.
        service: what the sentinels call the server; empty otherwise.
        options: arguments of redis-py's connections, without an address.
        tls: whether connections to the server are encrypted.
        sentinel_options: arguments of the connections to the sentinels, which are encrypted as those to the server are,
            with the same certificates, unless the URL says ``sentinel_tls=false``.
        socket_timeout, socket_connect_timeout: seconds, where the URL says so.
    """

    kind: str
    nodes: tuple[Address, ...]
    service: str
    options: dict[str, Any]
    tls: bool
    sentinel_options: dict[str, object]
    socket_timeout: float | None
    socket_connect_timeout: float | None

    @classmethod
    def read(cls, url: str) -> RedisUrl:
        """Read ``redis://host``, ``redis+sentinel://host,host/service/db`` or ``redis+cluster://host,host``.

        Raises:
            ConfigurationError: it is none of these; what is shown of it holds no password.
        """
        from redis.connection import parse_url

        parts = split(url)
        base, _, kind = parts.scheme.partition("+")
        credentials, _, hosts = parts.netloc.rpartition("@")
        path = [part for part in parts.path.split("/") if part]
        default_port = _DEFAULT_SENTINEL_PORT if kind == "sentinel" else _DEFAULT_PORT
        try:
            nodes = tuple(_address(host, default_port) for host in hosts.split(",")) if kind else ()
            # A number alone is a database, as in the URL of one server: nobody calls a service "0".
            named = kind == "sentinel" and path and not (len(path) == 1 and path[0].isdecimal())
            service = path.pop(0) if named else ""
            if kind == "sentinel" and not service:
                raise ValueError("the name of the service is missing, as in redis+sentinel://host:26379/mymaster")
            if kind:
                # What is not an address is read as in the URL of one server.
                netloc = f"{credentials}@localhost" if credentials else "localhost"
                url = urlunsplit(parts._replace(scheme=base, netloc=netloc, path="/".join(("", *path))))
            options: dict[str, Any] = parse_url(  # type: ignore[no-untyped-call]
                without_options(url, _SENTINEL_OPTIONS)
            )
        except ValueError as error:
            raise ConfigurationError(f"cannot use the Redis URL {printable(url)!r}: {error}") from None
        if kind == "cluster" and options.get("db"):
            raise ConfigurationError(f"cannot use the Redis URL {printable(url)!r}: a cluster has no databases")
        options.setdefault("protocol", 2)
        timeouts = {name: options.pop(name, None) for name in _OWN_TIMEOUTS}
        found = (options.pop("host", "localhost"), int(options.pop("port", _DEFAULT_PORT)))
        given = dict(parse_qsl(parts.query))
        sentinel: dict[str, Any] = {
            name.removeprefix("sentinel_"): given[name] for name in _SENTINEL_OPTIONS if name in given
        }
        if base == "rediss" and sentinel.pop("tls", "true").lower() != "false":
            certificates = {name: value for name, value in options.items() if name.startswith("ssl_")}
            sentinel |= {"ssl": True, **certificates}
        return cls(
            kind,
            nodes or (found,),
            service,
            options,
            base == "rediss",
            sentinel,
            timeouts["socket_timeout"],
            timeouts["socket_connect_timeout"],
        )


def _address(text: str, default_port: int) -> Address:
    host, found, port = text.strip().rpartition(":")
    if not found or port.endswith("]"):  # no port, perhaps behind an IPv6 address
        host, port = text.strip(), str(default_port)
    if not host.strip("[]"):
        raise ValueError("a host is missing")
    return host.strip("[]"), int(port)


class Target:
    """Where the connections of one client lead to. Threads may share it.

    Attributes:
        address: host and port for new connections, unless sentinels are asked for them.
        follows: whether a node of a cluster that names another one is believed.
        generation: connections that were opened in an earlier one are not used any more.
    """

    def __init__(self, url: RedisUrl) -> None:
        self._nodes = url.nodes
        self.follows = url.kind == "cluster"
        self._tried = 0
        self.address = url.nodes[0]
        self.generation = 0

    def renew(self, generation: int, moved_to: Address | None = None) -> None:
        """Connect anew: to the node that an answer named, or wherever the address leads now.

        ``generation`` is that of the connection that found out; of many callers who find out together, one counts.
        """
        if generation != self.generation:
            return
        if self.follows and moved_to is not None:
            self.address = (moved_to[0] or self.address[0], moved_to[1])
        self.generation += 1

    def server_is_away(self) -> None:
        """Connect anew. In a cluster, another of the nodes that were given knows who serves its keys now."""
        if self.follows:
            self._tried += 1
            self.address = self._nodes[self._tried % len(self._nodes)]
        self.generation += 1


# What a server says that is not, or not yet, the one to ask; a script passes it on with more words around it. See
# https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/ and, for the others, src/server.c of Redis.
_WRONG_SERVER = re.compile(r"\b(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|MOVED)\b")


_WRONG_SERVER_CLASSES = {
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "MovedError": "MOVED",
}


def wrong_server(error: Exception) -> str | None:
    """The word with which a server said that another one is to be asked; ``None`` if it said nothing of the kind."""
    for kind in type(error).__mro__:
        if kind.__name__ in _WRONG_SERVER_CLASSES:
            return _WRONG_SERVER_CLASSES[kind.__name__]
    from redis.exceptions import ResponseError

    found = _WRONG_SERVER.search(str(error)) if isinstance(error, ResponseError) else None
    return found[1] if found else None


def moved_to(error: Exception) -> Address | None:
    """The node that ``MOVED slot host:port`` names."""
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    return (str(host or ""), int(port)) if port else None
