"""One budget over an agent and all its subagents, and the moment at which it is told to conclude.

A run is a block around the agent's work. What happens inside of it, in other threads and tasks with a copied context
too, counts against the run and against every run around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from costguard_core.budgets.budget import Budget
from costguard_core.counters.base import Denial, Window
from costguard_core.errors import ConfigurationError
from costguard_core.types import Alert
from costguard_core.util.internal_calls import not_inherited
from costguard_core.util.numbers import number
from costguard_core.util.options import check_choice, check_kind, names_options
from costguard_core.util.text import printable

WRAP_UP = (
    "The budget for this task is nearly used up. Do not call any more tools. Answer now, as well as you can with what "
    "you have found so far, and say what is missing."
)
_DAY, _EARLIER = 86_400.0, 3_600.0  # seconds
RUN_SECONDS = _DAY - _EARLIER
"""How long a run counts; after that its budget begins anew."""
_LONGEST = 30  # days after which a run is refused: a choice
_LONGEST_TEXT = 2_000  # characters of the text that tells an agent to conclude: a choice


@names_options
@dataclass(frozen=True, slots=True)
class AgentLimit:
    """What one run of an agent may spend, its subagents included.

    Args:
        limit: dollars, such as ``"$0.50"``.
        wrap_up: the fraction of the limit at which the agent is told to conclude.
        text: what it is told then.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    limit: str | float | Decimal
    wrap_up: float = 0.8
    text: str = WRAP_UP

    def __post_init__(self) -> None:
        self.budget("agent")
        if not 0 < number("wrap_up", self.wrap_up, above=0) <= 1:
            raise ConfigurationError(f"wrap_up is a fraction of the limit, such as 0.8, not {self.wrap_up!r}")
        check_kind("text", self.text, str, f"of 1 to {_LONGEST_TEXT} characters")
        if not 0 < len(self.text) <= _LONGEST_TEXT:
            raise ConfigurationError(f"the text that tells an agent to conclude has 1 to {_LONGEST_TEXT} characters")

    def budget(self, name: str) -> Budget:
        """The limit as a budget of one run."""
        amount = self.limit.removeprefix("$") if isinstance(self.limit, str) else self.limit
        return Budget(amount, "usd", "total", name=f"agent {name}", alerts=())

    @classmethod
    def of(cls, given: AgentLimit | str | float | Decimal | Mapping[str, Any]) -> AgentLimit:
        """A limit as it may be written: ``"$0.50"``, or a mapping with the fields."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            return cls(given)  # type: ignore[arg-type]
        for name in given:
            check_choice("a field of an agent's limit", name, [field.name for field in fields(cls)])
        return cls(**{"limit": None, **given})  # which says what is missing


class AgentRun:
    """One run of an agent.

    Attributes:
        name: of the agent.
        id: of the run, with the time at which it began. Given to another process, which says
            ``guard.agent(name, run=id)``, what that one spends counts here too.
        limit: what it may spend.
        budget: the same as a budget.
        key: the counter's name in the store.
        window: a day that begins an hour before the run, whose clock may not be the store's; a run that lasts longer
            begins to count anew, so that no counter stays for ever.
        parent: the run around it.
    """

    def __init__(self, name: str, id: str, limit: AgentLimit, parent: AgentRun | None) -> None:
        self.name, self.id, self.limit, self.parent = name, id, limit, parent
        self.budget = limit.budget(name)
        start = _started(id) - _EARLIER
        self.window = Window(edges=tuple([start + day * _DAY for day in range(-1, _LONGEST)]))
        self.key = self.budget.key(()) + id
        self._spent = 0
        self._untold = {"wrap up": True, "agent": True}  # taken out in one step: threads of one agent tell once

    @property
    def spent(self) -> int:
        """Nano-dollars settled so far, as far as this process has been told."""
        return self._spent

    @property
    def should_conclude(self) -> bool:
        """Whether this run, or one around it, has used the fraction of its limit at which it is told to conclude."""
        return self.concluding is not None

    @property
    def concluding(self) -> AgentRun | None:
        """The run that is to conclude: this one, or one around it."""
        run: AgentRun | None = self
        while run is not None:
            if run._spent >= run.limit.wrap_up * run.budget.amount:
                return run
            run = run.parent
        return None

    def settled(self, total: int) -> bool:
        """Take note of what has been settled; true once, when the run is to conclude from now on."""
        self._spent = max(self._spent, total)
        concludes = self._spent >= self.limit.wrap_up * self.budget.amount
        return concludes and self._untold.pop("wrap up", False)

    def stopped(self) -> bool:
        """Take note that a call was refused; true once."""
        return self._untold.pop("agent", False)

    def __repr__(self) -> str:
        return f"AgentRun({self.name!r}, id={self.id!r})"


# Asked directly where every call passes.
CURRENT: ContextVar[AgentRun | None] = ContextVar("costguard_agent_run", default=None)
# A judge or a verifier is paid from the run, but is not the agent that is to conclude.
_is_untold = not_inherited(ContextVar[bool]("costguard_agent_untold", default=False), True)


def current_run() -> AgentRun | None:
    """The innermost run around this code."""
    return CURRENT.get()


def current_runs() -> tuple[AgentRun, ...]:
    """The runs around this code, the innermost first."""
    found, run = [], CURRENT.get()
    while run is not None:
        found.append(run)
        run = run.parent
    return tuple(found)


def wrap_up_text() -> str | None:
    """What the agent around this code is to be told now; ``None``: nothing, it has budget left."""
    run = CURRENT.get()
    concluding = None if run is None or _is_untold.get() else run.concluding
    return None if concluding is None else concluding.limit.text


def stopped_agent(run: AgentRun, denial: Denial, now: float) -> Alert:
    """What hooks are told when a run has no room for a call. ``now`` is unix seconds."""
    text = f"agent {run.name!r} has no budget left for its next call, and is stopped"
    scope = (("run", run.id),)
    return Alert(run.budget.name, scope, 1.0, "usd", run.budget.amount, denial.settled, now, "agent", text)


@contextmanager
def agent_run(name: str, id: str, limit: AgentLimit) -> Iterator[AgentRun]:
    """Count everything inside the block against one run."""
    if not name:
        raise ConfigurationError('an agent has a name: guard.agent("research", limit="$0.50")')
    run = AgentRun(name, id, limit, CURRENT.get())
    token = CURRENT.set(run)
    try:
        yield run
    finally:
        with suppress(ValueError):  # it ends in another context than it began in, which keeps nothing of it
            CURRENT.reset(token)


def _started(id: str) -> float:
    try:
        return float(int(id.partition(".")[0]))
    except (ValueError, OverflowError):
        raise ConfigurationError(f"run={printable(id)!r} is no id of a run: give that of AgentRun.id") from None
