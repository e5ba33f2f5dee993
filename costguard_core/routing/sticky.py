"""Keeping a conversation on its model: what a lost provider cache costs, and when a session changes its tier.

Moving from a warm strong model to a cold cheap one sends the whole prefix again at the full (or the cache-write) price.
With a long prefix that costs more than the cheap answer saves: from claude-sonnet-4.5 to haiku-4.5 with a prefix of
20,000 tokens, one turn is 138 % dearer, and the move pays after four (computed from list prices).
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from costguard_core.routing.tier_prices import TierPrice

TURNS_AHEAD = 3  # turns that a conversation is expected to go on for (a choice)
MAX_SESSIONS = 10_000  # whose tier is remembered (a choice: about 2 MB); the one used least recently is forgotten


class Switch(NamedTuple):
    """What the next turns cost on two models.

    Attributes:
        stay: nano-dollars on the model whose cache is warm.
        move: nano-dollars on the other one.
        payback_turns: turns after which the move is the cheaper one; ``None``: never.
    """

    stay: int
    move: int
    payback_turns: int | None

    @property
    def worth_it(self) -> bool:
        """Whether moving is cheaper over the turns asked about."""
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
    """What the next turns of a conversation cost on the model that it is on (``here``) and on another (``there``).

    The growth of the prefix over the turns is left out: it is the same on both sides but for the difference in read
    prices.

    Args:
        prefix_tokens: tokens that each turn repeats: history, system prompt, tools.
        input_tokens: new tokens of one turn.
        output_tokens: tokens of one answer.
        turns: how many turns to look ahead.
        warm: the provider of ``here`` holds the prefix in its cache.
    """
    cold_here = 0 if warm else prefix_tokens
    first_here = here.cost(cached=prefix_tokens - cold_here, written=cold_here + input_tokens, output=output_tokens)
    next_here = here.cost(cached=prefix_tokens, written=input_tokens, output=output_tokens)
    first_there = there.cost(written=prefix_tokens + input_tokens, output=output_tokens)
    next_there = there.cost(cached=prefix_tokens, written=input_tokens, output=output_tokens)
    return Switch(
        stay=first_here + (turns - 1) * next_here,
        move=first_there + (turns - 1) * next_there,
        payback_turns=_payback(first_there - first_here, next_here - next_there),
    )


def _payback(loss: int, gain: int) -> int | None:
    """Turns after which a first turn's ``loss`` is made good by the ``gain`` of each later one."""
    if loss < 0:
        return 1
    return None if gain <= 0 else 1 + ceil((loss + 1) / gain)


class SessionTier(NamedTuple):
    """Where a session is.

    Attributes:
        tier: index of its tier, 0 is the cheapest.
        descents: how often it moved to a cheaper one.
    """

    tier: int
    descents: int = 0


class SessionDecision(NamedTuple):
    """What a session gets.

    Attributes:
        tier: index of the tier that answers.
        because: why it is not the tier that was wanted; ``None``: it is.
        state: where the session is from now on.
    """

    tier: int
    because: str | None
    state: SessionTier


def keep_or_switch(
    state: SessionTier | None, wanted: int, *, in_loop: bool, switch: Switch | None, out_of_money: bool = False
) -> SessionDecision:
    """Whether a session moves to the tier that its request asks for.

    It moves up at once. It moves down only between tasks, when that pays, and once. So a session changes its tier a
    bounded number of times.

    Args:
        state: where the session is; ``None`` for a new one.
        wanted: index of the tier that the score asks for.
        in_loop: the request holds the result of a tool: in the middle of a task no session moves down.
        switch: the price of moving; ``None`` when prices are unknown: then the session stays.
        out_of_money: the budget asks for the cheaper tier: the session moves down whether that pays or not, and not up
            again after the second time.
    """
    if state is None or wanted == state.tier:
        return SessionDecision(wanted, None, SessionTier(wanted, state.descents if state else 0))
    if wanted > state.tier:
        refusal = "session: came down for good" if state.descents > 1 else None
        return _moved(state, wanted, refusal, descents=0)
    refusal = _why_not_down(state, in_loop=in_loop, switch=switch, out_of_money=out_of_money)
    return _moved(state, wanted, refusal, descents=1)


def _moved(state: SessionTier, wanted: int, refusal: str | None, *, descents: int) -> SessionDecision:
    if refusal is not None:
        return SessionDecision(state.tier, refusal, state)
    return SessionDecision(wanted, None, SessionTier(wanted, state.descents + descents))


def _why_not_down(state: SessionTier, *, in_loop: bool, switch: Switch | None, out_of_money: bool) -> str | None:
    if in_loop:
        return "session: in a tool loop"
    if out_of_money:
        return None
    if state.descents:
        return "session: came down once already"
    if switch is None:
        return "session: keeps its model"
    return None if switch.worth_it else "session: the lost cache costs more than the cheaper model saves"
