"""Loops: a session that asks the same again and again is stopped, in every process that shares the counter store.

Each step of a session has a counter of its own in the step that reserves the call, so that nothing is asked twice. A
cycle of several steps (A, B, A, B, …) needs no rule of its own: each of its steps is a repetition of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.counters.base import GrantedLimit, Window
from costguard_core.errors import ConfigurationError, SpendLimitExceeded
from costguard_core.types import Alert, Call
from costguard_core.util.numbers import whole_number
from costguard_core.util.options import names_options
from costguard_core.util.text import printable
from costguard_core.util.timeparse import seconds

NAME = "loop detection"
STOPPED = "session stopped"
_UNLIMITED = 2**53 - 1  # the largest limit that every store counts exactly
_WINDOWS = ("minute", "hour")


@names_options
@dataclass(frozen=True, slots=True)
class Loops:
    """When a session is taken for a loop, and for how long it is stopped then.

    A *step* of a session is what its latest turn says: the last message and the one before it, ids left out; of a
    prompt without history, all of it. Only calls that reach a provider count, so that questions which a cache answers
    are no loop, and only those with a session: ``attribute(session=…)``, LangChain's ``thread_id``.

    Args:
        repeats: how often a step may be made within ``within``; the next one stops the session.
        within: ``"minute"`` or ``"hour"``, sliding.
        stop_for: how long the session is refused then, such as ``"1h"``.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    repeats: int = 5
    within: str = "hour"
    stop_for: str | float = "1h"
    counting: Budget = field(init=False, repr=False, compare=False)
    stopping: Budget = field(init=False, repr=False, compare=False)
    stop_seconds: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole_number("loops.repeats", self.repeats, at_least=1)
        if self.within not in _WINDOWS:
            raise ConfigurationError(f"loops.within is one of {', '.join(_WINDOWS)}, not {self.within!r}")
        put = object.__setattr__
        put(self, "stop_seconds", seconds(self.stop_for))
        put(self, "counting", Budget(self.repeats, "requests", self.within, ("session",), name=NAME, alerts=()))
        # Its window is the same whatever the loop's: where stops are kept must not change with a setting.
        put(self, "stopping", Budget(_UNLIMITED, "requests", "hour", ("session",), name=STOPPED, alerts=()))

    def counters(self, call: Call) -> Iterator[tuple[Budget, Scope, str, Window]]:
        """Where a call of a session is counted: as a call of the session, and as one of its steps."""
        session, step = call.attribution.session, call.step or call.fingerprint
        if session and step:
            scope = (("session", session),)
            stopping, counting = self.stopping, self.counting
            yield stopping, scope, stopping.key(scope), stopping.window_at(0.0)
            yield counting, scope, f"{counting.key(scope)}|{step}", counting.window_at(0.0)

    @property
    def reason(self) -> str:
        """Why a session is stopped."""
        return f"the same step more than {self.repeats} times within one {self.within}"

    def stop(self, session: str, now: float) -> GrantedLimit:
        """What stops a session: a limit of no calls at all, from ``now`` (unix seconds) on."""
        scope = (("session", session),)
        end = now + self.stop_seconds
        key = self.stopping.key(scope)
        return GrantedLimit(key, 0, "requests", end, STOPPED, scope, self.reason, by="costguard", at=now)


def stop_key(session: str) -> str:
    """The counter by which a session is stopped."""
    return Loops().stopping.key((("session", session),))


def is_stop(granted: GrantedLimit) -> bool:
    """Whether a granted limit is a stopped session."""
    return granted.budget == STOPPED and granted.amount == 0


def loop_alert(loops: Loops, session: str, now: float) -> Alert:
    """What hooks are told when a session is stopped. ``now`` is unix seconds."""
    text = f"session {session!r} is in a loop and stopped for {loops.stop_for}: {loops.reason}"
    scope = (("session", session),)
    return Alert(NAME, scope, 1.0, "requests", loops.repeats, loops.repeats, now, "loop", text)


def loop_refusal(loops: Loops, session: str) -> SpendLimitExceeded:
    """The refusal of the call by which a loop is found."""
    return SpendLimitExceeded(
        f"session {printable(session)!r} made the same step more than {loops.repeats} times within one "
        f"{loops.within}, so it is taken for a loop and stopped for {loops.stop_for}. To let it go on: "
        f"guard.resume(session={printable(session)!r}). To change the rule: CostGuard(loops=Loops(repeats=…))",
        budget=NAME,
        scope={"session": session},
        unit="requests",
        limit=loops.repeats,
        spent=loops.repeats,
        held=0,
        requested=1,
    )


def stopped_refusal(session: str, retry_after: float | None = None) -> SpendLimitExceeded:
    """The refusal of every later call of a session that is stopped."""
    return SpendLimitExceeded(
        f"session {printable(session)!r} is stopped because it was found in a loop. To let it go on: "
        f"guard.resume(session={printable(session)!r})",
        budget=STOPPED,
        scope={"session": session},
        unit="requests",
        limit=0,
        requested=1,
        retry_after=retry_after,
    )
