"""What a policy file says, as the values that the other rooms take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from costguard_core.budgets.agents import AgentLimit
from costguard_core.budgets.breaker import Breaker
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.emergency import Emergency, end_of
from costguard_core.budgets.estimates import Assumptions
from costguard_core.budgets.loops import Loops
from costguard_core.cache.policy import CachePolicy
from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.policy.routers import router_problems, with_files
from costguard_core.policy.schema import shape_problems
from costguard_core.policy.written_secrets import written_secrets
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_file import read_price_file
from costguard_core.util.timeparse import seconds
from costguard_core.util.toml_document import (
    Document,
    DocumentError,
    Path,
    Problem,
    expanded,
)

if TYPE_CHECKING:
    from costguard_core.exporters import HookLike

VARIABLE = "COSTGUARD_CONFIG"
"""The environment variable that names the file."""

DEFAULT_FILE = "costguard.toml"


class PolicyError(DocumentError):
    """A policy file cannot be used; the text has a line for each problem."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The rules of one endpoint of the application (``attribute(endpoint=...)``).

    Attributes:
        name: as the application writes it, such as ``"/support"``.
        owner: who answers for its bill.
        budgets: the limits that are for this endpoint alone; ``max_cost_per_call`` is one of them.
        models: the models that it may use; empty: all.
        max_cost_per_call: dollars, as text; ``None``: no limit.
        review_above: spend above which a change needs a review, such as ``"$500/month"``.
        cache: the rules of the cache for its requests; ``None``: those of everybody.
    """

    name: str
    owner: str | None = None
    budgets: tuple[Budget, ...] = ()
    models: tuple[str, ...] = ()
    max_cost_per_call: str | None = None
    review_above: Budget | None = None
    cache: CachePolicy | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file that can be used.

    Attributes:
        path: the file; ``None``: it came as text.
        budgets: every limit: of the whole application, of plans and of endpoints.
        options: the other arguments of ``CostGuard``, by name.
        endpoints: the rules by endpoint.
        cache: the rules of the caches, with those of each endpoint inside.
        emergency: the caps that ``costguard budget emergency`` declares when it is given none.
        proxy: the table ``[proxy]``, which :mod:`costguard_core.proxy.settings` reads.
        routers: the tiers and rules of routers by name, which :mod:`costguard_core.routing.declared` reads.
        text: what the file says, as it was read.
    """

    path: FilePath | None
    budgets: tuple[Budget, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: MappingProxyType({}))
    cache: CachePolicy = field(default_factory=CachePolicy)
    proxy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    emergency: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    routers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    text: str = field(default="", repr=False, compare=False)


def find_policy(path: str | FilePath | None = None, environment: Mapping[str, str] = os.environ) -> FilePath:
    """The file to read: ``path``, else what ``COSTGUARD_CONFIG`` names, else ``costguard.toml`` here.

    Raises:
        ConfigurationError: there is no such file.
    """
    said = path or environment.get(VARIABLE)
    found = FilePath(said or DEFAULT_FILE)
    if found.is_file():
        return found
    if said is None:
        raise ConfigurationError(f"there is no {DEFAULT_FILE} here; give its path, or set {VARIABLE}")
    near = get_close_matches(found.name, [p.name for p in found.parent.glob("*.toml")], n=1)
    meant = f" Did you mean {str(found.parent / near[0])!r}?" if near else ""
    raise ConfigurationError(f"there is no policy file {str(found)!r}.{meant}")


def load_policy(path: str | FilePath | None = None, environment: Mapping[str, str] = os.environ) -> Policy:
    """Read a policy file; see :func:`find_policy` for which.

    Raises:
        ConfigurationError: there is no such file, or it cannot be read.
        PolicyError: it says something that cannot be used; the text has a line for each place.
    """
    found = find_policy(path, environment)
    try:
        text = found.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the policy file {str(found)!r} cannot be read: {error}") from None
    return parse_policy(text, environment, path=found)


def parse_policy(text: str, environment: Mapping[str, str] = os.environ, *, path: FilePath | None = None) -> Policy:
    """The policy that ``text`` (TOML) is. ``path`` is named in errors, and is where relative paths begin.

    Raises:
        PolicyError: the text says something that cannot be used.
    """
    document = Document(text, str(path or DEFAULT_FILE), PolicyError)
    if problems := [*shape_problems(document.values), *written_secrets(document.values)]:
        raise document.error(problems)
    values, problems = expanded(document.values, environment)
    if problems:
        raise document.error(problems)
    reader = _Reader(values, path)
    policy = reader.policy(text)
    if reader.problems:
        raise document.error(reader.problems)
    return policy


class _Reader:
    """Makes the values of one file; what cannot be made is remembered with its path, so that all is told at once."""

    def __init__(self, values: dict[str, Any], path: FilePath | None) -> None:
        self.problems: list[Problem] = []
        self._values = values
        self._path = path

    def policy(self, text: str) -> Policy:
        values = self._values
        cache = self._cache(values.get("cache", {}), ("cache",), CachePolicy()) or CachePolicy()
        endpoints = {name: self._endpoint(name, given, cache) for name, given in values.get("endpoints", {}).items()}
        budgets = [*self._budgets(values.get("budgets", ()), ("budgets",), {})]
        for plan, given in values.get("plans", {}).items():
            budgets += self._budgets(given.get("budgets", ()), ("plans", plan, "budgets"), {"plan": plan})
        for endpoint in endpoints.values():
            budgets += endpoint.budgets
        own = {name: endpoint.cache for name, endpoint in endpoints.items() if endpoint.cache is not None}
        return Policy(
            self._path,
            tuple(dict.fromkeys(budgets)),  # one that stands in two places is one
            MappingProxyType(self._options()),
            MappingProxyType(endpoints),
            replace(cache, by_endpoint=MappingProxyType(own)) if own else cache,
            MappingProxyType(self._proxy(values.get("proxy", {}))),
            MappingProxyType(self._emergency(values.get("emergency", {}))),
            MappingProxyType(self._routers(values.get("routers", {}), ("routers",))),
            text,
        )

    def _proxy(self, given: Mapping[str, Any]) -> dict[str, Any]:
        routers = self._routers(given.get("routers", {}), ("proxy", "routers"))
        return {**given, "routers": routers} if routers else dict(given)

    def _routers(self, given: Mapping[str, Any], path: Path) -> dict[str, Mapping[str, Any]]:
        for name, router in given.items():
            self.problems += router_problems((*path, name), router)
        folder = None if self._path is None else self._path.parent
        return {name: MappingProxyType(with_files(router, folder)) for name, router in given.items()}

    def _emergency(self, given: Mapping[str, Any]) -> dict[str, Any]:
        caps = {name: value for name, value in given.items() if name != "for"}
        if given:
            self._try(("emergency",), lambda: Emergency(end_of(given.get("for", "1h"), 0.0), **caps))
        return {**caps, "duration": given["for"]} if "for" in given else caps

    def _options(self) -> dict[str, Any]:
        values = self._values
        options: dict[str, Any] = {
            name: values[name] for name in ("store", "ledger", "tags", "retention") if name in values
        }
        if isinstance(prices := values.get("prices"), str):
            options["prices"] = self._beside(prices)
            self._try(("prices",), read_price_file, options["prices"])
        elif prices:
            for model, given in prices.items():
                self._try_prices(("prices", model), given, partial(PriceBook, {model: given}))
            options["prices"] = prices
        for provider, given in values.get("discount", {}).items():
            self._try(("discount", provider), lambda p=provider, g=given: PriceBook(discounts={p: g}))
        if "unpriced" in values:
            self._try_prices(("unpriced",), values["unpriced"], lambda: PriceBook(unpriced=values["unpriced"]))
        options |= {name: values[name] for name in ("discount", "unpriced") if name in values}
        if "lease" in values:
            options["lease"] = self._try(("lease",), seconds, values["lease"])
        options |= self._controls()
        if "assume" in values:
            options["assume"] = Assumptions(**values["assume"])
        if "hooks" in values:
            hooks = [self._try(("hooks", index), _hook, hook) for index, hook in enumerate(values["hooks"])]
            options["hooks"] = [hook for hook in hooks if hook is not None]
        return options

    def _controls(self) -> dict[str, Any]:
        """What stops spending that runs away: the breaker, loops and agents."""
        values = self._values
        options: dict[str, Any] = {}
        if "breaker" in values:
            given = values["breaker"]
            rule = {"rate": given} if isinstance(given, str) else dict(given)
            if "wait_timeout" in rule:
                rule["wait_timeout"] = self._try(("breaker", "wait_timeout"), seconds, rule["wait_timeout"])
            options["breaker"] = self._try(("breaker",), lambda: Breaker(**rule))
        if "loops" in values:
            given = values["loops"]
            options["loops"] = self._try(("loops",), lambda: Loops(given) if isinstance(given, int) else Loops(**given))
        if "agents" in values:
            given = values["agents"]
            options["agents"] = {name: self._try(("agents", name), AgentLimit.of, one) for name, one in given.items()}
        return options

    def _endpoint(self, name: str, given: dict[str, Any], shared: CachePolicy) -> Endpoint:
        path: Path = ("endpoints", name)
        only = {"endpoint": name}
        budgets = list(self._budgets(given.get("budgets", ()), (*path, "budgets"), only))
        most = given.get("max_cost_per_call")
        if most is not None:
            limit = f"${most.removeprefix('$') if isinstance(most, str) else f'{Decimal(repr(most)):f}'}/call"
            budgets += self._budgets([limit], (*path, "max_cost_per_call"), only)
        review = given.get("review_above")
        if review is not None:
            review = self._try((*path, "review_above"), Budget.parse, review)
        cache = given.get("cache")
        return Endpoint(
            name,
            given.get("owner"),
            tuple(budgets),
            tuple(given.get("models", ())),
            None if most is None else str(most).removeprefix("$"),
            review,
            None if cache is None else self._cache(cache, (*path, "cache"), shared),
        )

    def _budgets(self, given: Any, path: Path, where: Mapping[str, str]) -> Iterator[Budget]:
        for index, item in enumerate(given):
            options = {"limit": item} if isinstance(item, str) else dict(item)
            place = (*path, index) if path[-1] == "budgets" else path
            made = self._try(place, self._budget, options, where)
            if made is not None:
                yield made

    def _budget(self, options: dict[str, Any], where: Mapping[str, str]) -> Budget:
        text = options.pop("limit")
        options.setdefault("timezone", self._values.get("timezone", "UTC"))
        if "alerts" in options:
            options["alerts"] = tuple(options["alerts"])
        if "wait_timeout" in options:
            options["wait_timeout"] = seconds(options["wait_timeout"])
        made = Budget.parse(text, **options)
        said = dict(made.conditions)
        for name, value in where.items():
            if said.get(name, value) != value:
                raise ConfigurationError(f"{text!r} stands under {name} {value!r} and says {name}={said[name]}")
        # A name that is not given follows from the conditions, so it is made again.
        given: Any = options.get("name")
        return replace(made, where={**said, **where}, name=given)

    def _cache(self, given: Mapping[str, Any], path: Path, base: CachePolicy) -> CachePolicy | None:
        options = dict(given)
        for name in ("ttl", "wait"):
            if name in options:
                options[name] = self._try((*path, name), seconds, options[name])
        if "scope" in options:
            options["scope"] = tuple(options["scope"])
        if "ttl_by" in options:
            options["ttl_by"] = {
                tag: self._try((*path, "ttl_by", tag), seconds, text) for tag, text in options["ttl_by"].items()
            }
        if options.pop("enabled", True) is False:
            options["never_cache"] = (endpoint_is_never_cached,)
        made: CachePolicy | None = self._try(path, lambda: replace(base, **options))
        return made

    def _beside(self, path: str) -> str:
        """A path that is relative to the policy file."""
        return path if self._path is None else str(self._path.parent / path)

    def _try_prices(self, path: Path, given: Mapping[str, Any], make: Callable[[], PriceBook]) -> None:
        """Of prices that cannot be used, the problem is at the key that the error names."""
        try:
            make()
        except ConfigurationError as error:
            self.problems.append(
                Problem((*path, *_key_named(str(error).partition(" (did you mean")[0], given)), str(error))
            )

    def _try(self, path: Path, make: Callable[..., Any], *arguments: Any) -> Any:
        """What ``make`` gives; ``None``, and a problem at ``path``, when it cannot."""
        try:
            return make(*arguments)
        except MissingExtraError:
            raise
        except ConfigurationError as error:
            problem = Problem(path, str(error))
            if problem not in self.problems:
                self.problems.append(problem)
            return None


def _key_named(text: str, given: Mapping[str, Any]) -> Path:
    """The way to the key in ``given`` that an error names; empty: to none."""
    for key, value in given.items():
        if isinstance(value, Mapping) and (below := _key_named(text, value)):
            return (key, *below)
        if repr(key) in text:
            return (key,)
    return ()


def endpoint_is_never_cached(request: object) -> bool:
    """The rule of an endpoint with ``cache = { enabled = false }``."""
    return True


def _hook(given: Mapping[str, Any]) -> HookLike:
    options = dict(given)
    kind = options.pop("type")
    from costguard_core import exporters

    name = {
        "logging": "LoggingHook",
        "webhook": "WebhookHook",
        "prometheus": "PrometheusHook",
        "opentelemetry": "OpenTelemetryHook",
    }[kind]
    for span in {"timeout", "gather"} & options.keys():
        options[span] = seconds(options[span])
    made: HookLike = getattr(exporters, name)(**options)
    return made
