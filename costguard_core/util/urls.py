"""URLs of stores: read in one way for counters, ledgers and caches, and shown without what is secret in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from costguard_core.errors import ConfigurationError


def split(url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        ConfigurationError: it has none; only its scheme is shown, for the rest may hold a password.
    """
    try:
        return urlsplit(url)
    except ValueError as error:
        # Some of urllib's messages quote what stands before the path, with the password.
        why = "its host is not valid" if {"'", '"'} & set(str(error)) else error
        raise ConfigurationError(f"the {url.partition(':')[0][:16]}:// URL cannot be read: {why}") from None


def port_of(parts: SplitResult) -> int | None:
    """The port of a URL with one host; ``None`` where it names none.

    Raises:
        ConfigurationError: it is no number up to 65,535.
    """
    try:
        return parts.port
    except ValueError:  # which quotes what may be a part of a password with a slash in it
        raise ConfigurationError(f"the {parts.scheme}:// URL cannot be read: its port is no number to 65535") from None


def printable(url: str) -> str:
    """``url`` without credentials and options: what may be logged."""
    parts = split(url)
    # Without "//" the credentials are part of the path.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rpartition("@")[2], "", ""))


def has_credentials(url: str) -> bool:
    """Whether a URL holds a password or another secret of its owner."""
    parts = split(url)
    return "@" in parts.netloc or "@" in parts.path or "password" in parts.query


def timeout_seconds(text: str, where: str = "") -> float:
    """The ``timeout=`` of a URL; ``where`` it stands, for the message.

    Raises:
        ConfigurationError: it is no positive, finite number.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        named = f"timeout= {where}".rstrip()
        raise ConfigurationError(f"{named} is a number of seconds above 0, not {text!r}")
    return seconds


# How integrations call the address of a provider, and the attributes of a client that has one of its own.
_ADDRESSES = (
    "base_url openai_api_base azure_endpoint anthropic_api_url groq_api_base xai_api_base api_base endpoint "
    "endpoint_url api_url google_api_base openrouter_api_base"
).split()
_CLIENTS = ("root_client", "_client")
_LONGEST_HOST = 253  # characters: RFC 1035


def host_in(settings: Mapping[str, object]) -> str | None:
    """The host that a model's settings send its requests to; ``None``: they leave that to the integration.

    A client that was made already knows best: it may have read its address from the environment.
    """
    for name in _ADDRESSES:
        if (given := settings.get(name)) is not None and (host := host_of(given)) is not None:
            return host
    for name in _CLIENTS:
        if (client := settings.get(name)) is not None and (host := host_of(getattr(client, "base_url", None))):
            return host
    return None


class LastHost:
    """:func:`host_in` of the same settings again and again: it is looked for once. They are told apart by identity."""

    def __init__(self) -> None:
        self._found: tuple[object, str | None] = (None, None)

    def __call__(self, settings: Mapping[str, object] | None) -> str | None:
        seen, host = self._found  # in one step, for other threads
        if seen is not settings:
            host = host_in(settings or {})
            self._found = (settings, host)
        return host


def host_of(url: object) -> str | None:
    """The host of a URL, in lower case and without its port; ``None``: this is no URL with one."""
    if url is None or not str(url):
        return None
    text = str(url)
    try:
        host = urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None
    return host if host and len(host) <= _LONGEST_HOST else None


class SqliteUrl(NamedTuple):
    """``sqlite:///path?timeout=1``.

    ``timeout``: seconds to wait for a lock whose holder shows no progress; ``None`` if the URL does not say.

    The counter store and the caches obey it; the ledger takes it so that one URL serves all three.
    """

    path: str
    timeout: float | None = None

    @classmethod
    def read(cls, rest: str) -> SqliteUrl | None:
        """From what follows ``sqlite://``; ``None`` if that names no file.

        Raises:
            ConfigurationError: an option that is not known, or a timeout that is not a positive number.
        """
        path, found, query = rest.partition("?")
        if not path.startswith("/") or path in ("/", "/:memory:"):
            return None
        options = dict(parse_qsl(query, keep_blank_values=True)) if found else {}
        timeout = options.pop("timeout", None)
        if options or (found and timeout is None):
            raise ConfigurationError(f"the only option of a SQLite URL is ?timeout=seconds, not {query!r}")
        return cls(path[1:], None if timeout is None else timeout_seconds(timeout, "in a SQLite URL"))
