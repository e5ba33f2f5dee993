"""What may be changed on the page: the switch, granted limits, caps for everybody, stopped sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.budgets.run_time import RunTimeControls
    from costguard_core.web.app import Page

_BY = "the page"  # who says so, in the audit
_MOST_CHARACTERS = 200  # of a reason
_MOST_DIGITS = 15  # of a number of tokens

Form = Mapping[str, str]


def change(page: Page, form: Form) -> None:
    """Do what a form asks for.

    Raises:
        ConfigurationError: the page cannot do that, or not with these values.
        StoreUnavailable: the counters cannot be reached.
    """
    asked = form.get("do", "")
    if asked == "trip" and page.trip is not None:
        page.trip(_reason(form) or "stopped on the page")
    elif asked == "reset" and page.reset is not None:
        page.reset()
    elif asked not in _CHANGES:
        raise ConfigurationError(f"this page cannot {asked!r}")
    elif page.controls is None:
        raise ConfigurationError("this page cannot change limits: start it with a token and a counter store")
    else:
        _CHANGES[asked](page.controls, form)


def _grant(controls: RunTimeControls, form: Form) -> None:
    limit = form.get("limit", "").strip()
    if not limit:
        raise ConfigurationError('a grant needs a limit, such as "$50"')
    until = form.get("until", "").strip() or None
    controls.grant(form.get("budget", ""), limit=limit, until=until, reason=_reason(form), by=_BY, scope=_scope(form))


def _revoke(controls: RunTimeControls, form: Form) -> None:
    controls.revoke(form.get("budget", ""), reason=_reason(form), by=_BY, scope=_scope(form))


def _emergency(controls: RunTimeControls, form: Form) -> None:
    most = form.get("max_input", "").strip()
    if most and not (most.isascii() and most.isdigit() and len(most) <= _MOST_DIGITS):
        raise ConfigurationError(f"the most input tokens of a call is a whole number such as 4000, not {most!r}")
    controls.emergency(
        duration=form.get("duration", "").strip() or "1h",
        max_input=int(most) if most else None,
        rate=form.get("rate", "").strip() or None,
        spend=form.get("spend", "").strip() or None,
        max_cost=form.get("max_cost", "").strip() or None,
        cheapest=form.get("cheapest") == "on",
        reason=_reason(form),
        by=_BY,
    )


def _end_emergency(controls: RunTimeControls, form: Form) -> None:
    controls.end_emergency(reason=_reason(form), by=_BY)


def _resume(controls: RunTimeControls, form: Form) -> None:
    controls.resume(session=form.get("session", ""), reason=_reason(form), by=_BY)


_CHANGES: Mapping[str, Callable[[RunTimeControls, Form], None]] = {
    "grant": _grant,
    "revoke": _revoke,
    "emergency": _emergency,
    "end emergency": _end_emergency,
    "resume": _resume,
}


def _reason(form: Form) -> str:
    return form.get("reason", "")[:_MOST_CHARACTERS]


def _scope(form: Form) -> dict[str, str]:
    """Whose limit a form is about: fields of its own, or ``user=u1, plan=free`` in one."""
    found = {name.removeprefix("scope:"): value for name, value in form.items() if name.startswith("scope:")}
    for pair in filter(None, map(str.strip, form.get("scope", "").split(","))):
        name, given, value = pair.partition("=")
        if not given:
            raise ConfigurationError(f"whose limit is written as user=u1, or user=u1, plan=free: not {pair!r}")
        found[name.strip()] = value.strip()
    return found
