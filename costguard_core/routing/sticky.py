"""Staying with a model inside a conversation: what the lost provider cache costs, and a rule that cannot flap.

Going from a warm strong model to a cold cheap one re-sends the whole prefix at the full (or the cache-write) price.
With a long prefix that costs more than the cheap answer saves: claude-sonnet-4.5 to haiku-4.5 with 20,000 tokens of
prefix is 138 % dearer for one turn and pays back after four.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

PER = 1_000_000  # prices are for a million tokens
TURNS_AHEAD = 3  # how many more turns a conversation is expected to have
MAX_SESSIONS = 10_000  # remembered, the least recently used leaves


@dataclass(frozen=True, slots=True)
class TierPrice:
    """Nano-dollars per million tokens. ``cached`` reads a warm prefix (default: input); ``write`` fills the cache."""

    input: int
    output: int
    cached: int | None = None
    write: int | None = None

    def cost(self, *, fresh: int = 0, cached: int = 0, written: int = 0, output: int = 0) -> int:
        """Nano-dollars of a call with that many tokens of each kind, rounded up."""
        read = self.input if self.cached is None else self.cached
        fill = self.input if self.write is None else self.write
        return -(-(fresh * self.input + cached * read + written * fill + output * self.output) // PER)


class Switch(NamedTuple):
    """What staying on a warm model and moving to a cold one cost over the turns asked about, in nano-dollars."""

    stay: int
    move: int
    payback_turns: int | None

    @property
    def worth_it(self) -> bool:
        return self.move < self.stay


def switch_price(
    here: TierPrice,
    there: TierPrice,
    *,
    prefix_tokens: int,
    input_tokens: int,
    output_tokens: int,
    turns: int = 1,
    warm: bool = True,
) -> Switch:
    """What the next ``turns`` cost on either model, when ``here`` holds the prefix in its provider cache (``warm``).

    Args:
        prefix_tokens: tokens that the conversation repeats each turn (history, system prompt, tools).
        input_tokens: new tokens of one turn.
        output_tokens: answer tokens of one turn.

    ``payback_turns`` is after how many turns the move is the cheaper one; ``None``: never. The prefix's own growth
    over the turns is left out: it is the same on both sides but for the small difference in read prices.
    """
    fresh_here = 0 if warm else prefix_tokens
    first_here = here.cost(cached=prefix_tokens - fresh_here, written=fresh_here + input_tokens, output=output_tokens)
    next_here = here.cost(cached=prefix_tokens, written=input_tokens, output=output_tokens)
    first_there = there.cost(written=prefix_tokens + input_tokens, output=output_tokens)
    next_there = there.cost(cached=prefix_tokens, written=input_tokens, output=output_tokens)
    return Switch(
        stay=first_here + (turns - 1) * next_here,
        move=first_there + (turns - 1) * next_there,
        payback_turns=_payback(first_there - first_here, next_here - next_there),
    )


def _payback(loss: int, gain: int) -> int | None:
    if loss < 0:
        return 1
    return None if gain <= 0 else 1 + ceil((loss + 1) / gain)


class Stay(NamedTuple):
    """Where a session is (tier index, 0 is the cheapest) and how often it came down."""

    tier: int
    descents: int = 0


class Held(NamedTuple):
    """The tier a session gets, why it is not the wanted one (``None``: it is), and where that leaves the session."""

    tier: int
    because: str | None
    state: Stay


def hold(state: Stay | None, wanted: int, *, in_loop: bool, switch: Switch | None, out_of_money: bool = False) -> Held:
    """Up at once; down only between tasks, when the move pays, and once. So a session changes tier finitely often.

    Args:
        state: where the session is; ``None`` for a new one.
        wanted: the tier that the score asks for.
        in_loop: the call digests a tool result: models are not changed downwards in the middle of a task.
        switch: the price of moving; ``None`` when prices are unknown, then a warm model is kept.
        out_of_money: the spend line asks for the cheaper tier: down whether it pays or not, and not up again after the
            second time.
    """
    if state is None or wanted == state.tier:
        return Held(wanted, None, Stay(wanted, state.descents if state else 0))
    if wanted > state.tier:
        refusal = "session: came down for good" if state.descents > 1 else None
        return _held(state, wanted, refusal, 0)
    refusal = _why_not_down(state, in_loop=in_loop, switch=switch, out_of_money=out_of_money)
    return _held(state, wanted, refusal, 1)


def _held(state: Stay, wanted: int, refusal: str | None, descents: int) -> Held:
    if refusal is not None:
        return Held(state.tier, refusal, state)
    return Held(wanted, None, Stay(wanted, state.descents + descents))


def _why_not_down(state: Stay, *, in_loop: bool, switch: Switch | None, out_of_money: bool) -> str | None:
    if in_loop:
        return "session: in a tool loop"
    if out_of_money:
        return None
    if state.descents:
        return "session: came down once already"
    if switch is None:
        return "session: keeps its model"
    return None if switch.worth_it else "session: the lost cache costs more than the cheaper model saves"


class Sessions:
    """Where each session is; the least recently used are forgotten. Not locked: its owner serialises access."""

    def __init__(self, *, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._stays: OrderedDict[str, Stay] = OrderedDict()

    def get(self, session: str) -> Stay | None:
        return self._stays.get(session)

    def put(self, session: str, state: Stay) -> None:
        self._stays[session] = state
        self._stays.move_to_end(session)
        if len(self._stays) > self._limit:
            self._stays.popitem(last=False)
