"""What the table ``[proxy]`` of a policy file says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from costguard_core.errors import ConfigurationError
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.timeparse import seconds
from costguard_core.util.urls import has_credentials, split

# What is used where the file names no upstream: the vendors' own, with the key from the variable their clients read.
_VENDORS = (
    ("openai", "OPENAI_BASE_URL", "https://api.openai.com", "OPENAI_API_KEY", ("*",)),
    ("anthropic", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", "ANTHROPIC_API_KEY", ("claude-*",)),
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that models are asked of.

    Attributes:
        name: in messages and metrics.
        url: its address before ``/v1``.
        provider: who sells there, as the price list calls it; ``None``: nobody knows.
        key: what it is signed in with; ``None``: with what the client sends.
        models: patterns of the names of models that are asked here, such as ``"gpt-*"``.
        vendor: whose wire format it speaks: ``"openai"`` or ``"anthropic"``; ``None``: both.
        headers: sent with every request.
    """

    name: str
    url: str
    provider: str | None = None
    key: str | None = field(default=None, repr=False)
    models: tuple[str, ...] = ("*",)
    vendor: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def host(self) -> str:
        """The host of :attr:`url`."""
        return urlsplit(self.url).hostname or ""

    def serves(self, model: str, vendor: str | None) -> bool:
        """Whether a request for ``model`` in ``vendor``'s format may be sent here."""
        return (self.vendor is None or vendor is None or self.vendor == vendor) and any(
            fnmatchcase(model, pattern) for pattern in self.models
        )


@dataclass(frozen=True, slots=True)
class Jwt:
    """How tokens of an identity provider are read.

    Attributes:
        jwks: the address of its keys (https).
        audience, issuer: what a token must say; ``None``: anything.
        claims: claim → what it attributes, such as ``{"sub": "user"}``.
    """

    jwks: str
    audience: str | None = None
    issuer: str | None = None
    claims: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"sub": "user"}))


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The settings of a proxy.

    Attributes:
        host, port: where it listens.
        upstreams: in the order in which they are tried for a model.
        aliases: another name for a model → the model that is asked.
        routers: a virtual model → its tiers and the options of its router.
        fallbacks: model → models that are asked, in this order, when its upstream cannot answer (no connection, 429,
            5xx).
        keys: the database of virtual keys: ``sqlite:///path`` or ``postgresql://…``; ``None``: there are none.
        jwt: how tokens are read; ``None``: they are not.
        headers: request header (lower case) → what it attributes.
        unmetered: ``"pass"`` or ``"refuse"``: what happens to requests that are not understood.
        cache: the URL of the exact cache; ``None``: answers are not cached.
        semantic: the options of the semantic cache; ``None``: there is none.
        share: whether callers with different keys share answers inside a tenant.
        max_body: bytes of a request.
        read_timeout: seconds for a client to send its request.
        timeout: seconds that an upstream may be silent.
        connections: how many requests may be open to one upstream.
        page: whether ``/ui`` shows the page of ``costguard serve``.
        metrics: whether ``/metrics`` is there for Prometheus.
        drain: seconds for which calls under way may go on when the proxy is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 4000
    upstreams: tuple[Upstream, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    routers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    keys: str | None = None
    jwt: Jwt | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unmetered: Literal["pass", "refuse"] = "pass"
    cache: str | None = "memory://"
    semantic: Mapping[str, Any] | None = None
    share: bool = False
    max_body: int = 20_000_000
    read_timeout: float = 30.0
    timeout: float = 600.0
    connections: int = 5000
    drain: float = 30.0
    page: bool = False
    metrics: bool = False

    def upstream(self, model: str, vendor: str | None) -> Upstream | None:
        """The first upstream that serves ``model`` in ``vendor``'s format."""
        return next((one for one in self.upstreams if one.serves(model, vendor)), None)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the proxy."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def knows_callers(self) -> bool:
        """Whether a caller has to show who it is."""
        return self.keys is not None or self.jwt is not None


def proxy_settings(
    given: Mapping[str, object], environment: Mapping[str, str] = os.environ, **wins: object
) -> ProxySettings:
    """The settings of a table ``[proxy]``; ``wins`` are settings that win over it.

    Raises:
        ConfigurationError: a value cannot be used, or the proxy would be open to everybody: without keys it listens on
            this machine only.
    """
    options: dict[str, Any] = {**given, **{name: value for name, value in wins.items() if value is not None}}
    for name in ("timeout", "read_timeout", "drain"):
        if name in options:
            options[name] = number(name, seconds(options[name]), above=0)
    for name in ("max_body", "connections", "port"):
        if name in options:
            whole_number(name, options[name], at_least=0 if name == "port" else 1)
    options["upstreams"] = tuple(_upstream(one) for one in options.get("upstreams", ())) or _vendors(environment)
    options["fallbacks"] = {model: tuple(others) for model, others in options.get("fallbacks", {}).items()}
    options["headers"] = {name.lower(): target for name, target in options.get("headers", {}).items()}
    if "jwt" in options:
        options["jwt"] = Jwt(**options["jwt"])
    options |= _caches(options)
    both = options.get("routers", {}).keys() & options.get("aliases", {}).keys()
    if both:
        raise ConfigurationError(f"{min(both)!r} is both an alias and a router")
    settings = ProxySettings(**options)
    if not settings.is_local and not settings.knows_callers:
        raise ConfigurationError(
            f"the proxy would serve everybody who reaches {settings.host}: set keys or jwt in [proxy] (and make a key: "
            "costguard keys create --tag user=…), or listen on 127.0.0.1"
        )
    return settings


def _caches(given: Mapping[str, object]) -> dict[str, Any]:
    """``cache`` and ``semantic``; false is none."""
    found: dict[str, Any] = {name: given[name] or None for name in ("cache", "semantic") if given.get(name) is False}
    semantic = given.get("semantic")
    if isinstance(semantic, Mapping):
        lasting = {name: seconds(semantic[name]) for name in ("ttl", "timeout", "verify_deadline") if name in semantic}
        found["semantic"] = {**semantic, **lasting}
    return found


def _upstream(given: Mapping[str, Any]) -> Upstream:
    options = dict(given)
    options["url"] = _address(options["url"])
    options["models"] = tuple(options.get("models", ("*",)))
    options.setdefault("name", urlsplit(options["url"]).hostname)
    return Upstream(**options)


def _address(url: str) -> str:
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or has_credentials(url):
        raise ConfigurationError("an upstream's url is http:// or https:// and a host, without a password")
    return url.rstrip("/").removesuffix("/v1")


def _vendors(environment: Mapping[str, str]) -> tuple[Upstream, ...]:
    made = []
    for name, base, url, key, models in reversed(_VENDORS):  # the one that serves every name comes last
        made.append(
            Upstream(name, _address(environment.get(base) or url), name, environment.get(key) or None, models, name)
        )
    return tuple(made)
