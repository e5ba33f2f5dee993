"""What a hook is, and the dispatcher that keeps a broken one from breaking a call."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from costguard_core.errors import ConfigurationError
from costguard_core.types import ATTRIBUTE_NAMES, Alert, Event, usd
from costguard_core.util.options import shown
from costguard_core.util.text import printable

_log = logging.getLogger(__name__)


class Hook(Protocol):
    """Called in the thread that made the call, after its answer is there: be quick, or hand over to a thread."""

    def __call__(self, item: Event | Alert, /) -> None: ...


HookLike = Hook | Callable[[Event | Alert], object]


class Hooks:
    """Emit to all hooks. One that raises is counted in ``errors``, logged once, and called again."""

    def __init__(self, hooks: HookLike | Iterable[HookLike] = ()) -> None:
        given: object = hooks
        if isinstance(given, str) or not (callable(given) or isinstance(given, Iterable)):
            raise ConfigurationError(f"hooks= is a list such as [LoggingHook()], not {shown(hooks)}")
        self.hooks = (hooks,) if callable(hooks) else tuple(hooks)  # one is welcome
        self._logged: set[int] = set()
        self.errors = 0
        for hook in self.hooks:
            _check(hook)

    def add(self, hook: HookLike) -> None:
        """Emit to ``hook`` too, after the others."""
        _check(hook)
        self.hooks = (*self.hooks, hook)

    def emit(self, item: Event | Alert) -> None:
        """Tell every hook; never raises."""
        for index, hook in enumerate(self.hooks):
            try:
                hook(item)
            except Exception:
                self._failed(index)

    def close(self) -> None:
        """Close the hooks that have something to close (the webhook sends what it still holds)."""
        for index, hook in enumerate(self.hooks):
            try:
                getattr(hook, "close", _nothing)()
            except Exception:
                self._failed(index)

    def _failed(self, index: int) -> None:
        self.errors += 1
        if index not in self._logged:
            self._logged.add(index)
            _log.warning("hook %r failed; it is counted, and not logged again", self.hooks[index], exc_info=True)


def _check(hook: HookLike) -> None:
    if not callable(hook):
        raise ConfigurationError(f"hooks= is a list such as [LoggingHook()], and {hook!r} cannot be called")
    if isinstance(hook, type):
        raise ConfigurationError(f"hooks=[…]: {hook.__name__} is a class; write {hook.__name__}(…)")
    call = hook if inspect.isroutine(hook) else type(hook).__call__
    if inspect.iscoroutinefunction(call):
        raise ConfigurationError(f"hooks=[…]: {hook!r} is async, so nothing would await it; give a plain function")


def _nothing() -> None: ...


def as_dict(item: Event | Alert) -> dict[str, object]:
    """An event or alert as JSON-ready values: money as text of dollars, time as ISO 8601 UTC, nothing secret.

    Names are printable text (see :mod:`costguard_core.util.text`), so that every log and server can take them.
    """
    return _event(item) if isinstance(item, Event) else _alert(item)


def _event(event: Event) -> dict[str, object]:
    return {
        "type": "call",
        "id": printable(event.id),
        "time": _iso(event.time),
        "outcome": event.outcome.value,
        "provider": _shown(event.provider),
        "model": printable(event.model),
        "kind": event.kind,
        **{name: _shown(event.attribution.value(name)) for name in ATTRIBUTE_NAMES},
        "tags": {name: printable(value) for name, value in event.attribution.tags},
        "cost_usd": None if event.cost is None else amount(event.cost, "usd"),
        "saved_usd": amount(event.saved, "usd"),
        "input_tokens": event.usage.input_tokens,
        "output_tokens": event.usage.output_tokens,
        "estimated": event.estimated,
        "latency": event.latency,
        "reason": _shown(event.reason),
        "route": _shown(event.route),
    }


def _alert(alert: Alert) -> dict[str, object]:
    return {
        "type": "alert",
        "time": _iso(alert.time),
        "budget": printable(alert.budget),
        "scope": {name: printable(value) for name, value in alert.scope},
        "fraction": alert.fraction,
        "unit": alert.unit,
        "limit": amount(alert.limit, alert.unit),
        "settled": amount(alert.settled, alert.unit),
        "kind": alert.kind,
        **({"text": printable(alert.text)} if alert.text else {}),
    }


def as_line(item: Event | Alert) -> str:
    """An event or alert as one line for people."""
    if isinstance(item, Alert) and item.text:
        return f"{item.kind}: {printable(item.text)}"
    if isinstance(item, Alert):
        who = ", ".join([f"{name} '{printable(value)}'" for name, value in item.scope])
        before, after = ("$", "") if item.unit == "usd" else ("", f" {item.unit}")
        used = f"{before}{amount(item.settled, item.unit)} of {before}{amount(item.limit, item.unit)}{after}"
        return f"budget '{printable(item.budget)}'{f' for {who}' if who else ''} is {item.fraction:.0%} used: {used}"
    cost = "unknown cost" if item.cost is None else f"${amount(item.cost, 'usd')}"
    why = f" ({printable(item.reason)})" if item.reason else ""
    took = f"{1000 * item.latency:.0f} ms"
    return f"{printable(item.model)} {item.outcome.value}{why}: {cost}, saved ${amount(item.saved, 'usd')}, {took}"


def _shown(name: str | None) -> str | None:
    return None if name is None else printable(name)


def amount(value: int, unit: str) -> str | int:
    """An amount as it leaves the building: text of dollars for ``"usd"``, a count otherwise."""
    return format(usd(value).normalize(), "f") if unit == "usd" else value


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
