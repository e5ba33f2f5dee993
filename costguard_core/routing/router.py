"""Makes one decision of score, cut, budget, limits of the tiers and session. No I/O, no clock, no framework."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.routing.checks.judge import Judge, is_near
from costguard_core.routing.checks.verify import Verdict
from costguard_core.routing.decision import Decision
from costguard_core.routing.learning.drift import Drift, drift
from costguard_core.routing.request import Phase, Request
from costguard_core.routing.scores import Reason, Score
from costguard_core.routing.spend import Spending, eligible_share
from costguard_core.routing.sticky import (
    MAX_SESSIONS,
    TURNS_AHEAD,
    SessionTier,
    Switch,
    keep_or_switch,
    switch_price,
)
from costguard_core.routing.threshold import WINDOW, RankedScore, RealisedShare, RollingCut
from costguard_core.routing.tiers import Tier, checked_tiers, nearest_able
from costguard_core.util.forks import renew_locks
from costguard_core.util.lru import LRUMap
from costguard_core.util.numbers import number
from costguard_core.util.options import check_flag, meant

NEAR = 0.1  # a judge is asked about scores whose rank is this close to the cut (a choice: a fifth of the traffic)


class _Choice(NamedTuple):
    """The tier chosen so far, on its way through the stages of a decision.

    Attributes:
        tier: its index.
        reasons: what led to it.
        cut: the score that it was compared with.
        out_of_money: the budget asks for the cheapest tier.
    """

    tier: int
    reasons: tuple[Reason, ...] = ()
    cut: float | None = None
    out_of_money: bool = False

    def moved(self, tier: int, because: str | None) -> _Choice:
        """Another tier, for one more reason."""
        reasons = self.reasons if because is None else (*self.reasons, Reason(because))
        return self._replace(tier=tier, reasons=reasons)


class Router:
    """Decides which of several tiers answers a request. Thread-safe; holds only recent scores and sessions.

    Args:
        tiers: names or :class:`Tier` objects, cheapest first.
        score: a scorer (``rules()``, ``learned(...)``, ``examples(...)``, ``first_opinion(...)``, a function).
        share: which part of the scored requests the dearer tiers get: a number for the strongest of two tiers, or one
            number for each tier above the first. Without it, tiers get equal parts.
        threshold: cut at this score instead of at a share (two tiers only).
        default: the tier of requests about which nobody has an opinion; the strongest if not said, because a wrong
            answer is worse than a paid one.
        judge: asked about scores near the cut; its verdict (0..1) replaces the rank.
        sticky: keep a session on its model while changing costs more than it saves.
        window: how many recent scores and requests are remembered.

    Raises:
        ConfigurationError: tiers, shares or default that do not fit together.
    """

    def __init__(
        self,
        tiers: Sequence[Tier | str],
        *,
        score: Callable[[Request], Score | None],
        share: float | Sequence[float] | None = None,
        threshold: float | None = None,
        default: str | None = None,
        judge: Judge | None = None,
        sticky: bool = True,
        window: int = WINDOW,
    ) -> None:
        self.tiers = checked_tiers(tiers)
        self._index = {tier.name: place for place, tier in enumerate(self.tiers)}
        self._score, self._judge, self._threshold, self._sticky = score, judge, threshold, sticky
        self._has_share = share is not None
        self._shares = _cumulative(share, len(self.tiers))
        self._default = self._place(default) if default is not None else len(self.tiers) - 1
        if threshold is not None and len(self.tiers) != 2:
            raise ConfigurationError("threshold= is for two tiers; with more of them use share=")
        if threshold is not None:
            number("threshold", threshold)
        check_flag("sticky", sticky)
        self._lock = Lock()
        renew_locks(self, "_lock")
        self._training_quantiles: Sequence[float] = getattr(score, "quantiles", ())
        self._cut = RollingCut(window=window, seed=self._training_quantiles)
        self._recent_scores: deque[float] = deque(maxlen=window)
        self._realised = [RealisedShare(window=window) for _ in self._shares]
        self._sessions: LRUMap[str, SessionTier] = LRUMap(MAX_SESSIONS)

    def __deepcopy__(self, memo: dict[int, object]) -> Router:
        return self  # a copied model remembers together with the original

    @property
    def has_judge(self) -> bool:
        """Whether deciding may take a call to a judge."""
        return self._judge is not None

    def with_judge(self, judge: Judge | None) -> Router:
        """A router with another judge that shares its memory with this one."""
        copied = copy(self)
        copied._judge = judge
        return copied

    def decide(self, request: Request, *, spending: Spending | None = None) -> Decision:
        """Choose a tier and remember the score, the share and the session."""
        return self._decide(request, spending, remember=True)

    def explain(self, request: Request, *, spending: Spending | None = None) -> Decision:
        """What :meth:`decide` would say now, without remembering anything and without asking the judge."""
        return self._decide(request, spending, remember=False)

    def is_hard(self, request: Request, *, spending: Spending | None = None) -> bool:
        """Whether the request goes to a dearer tier than the first: a condition for a plain ``RunnableBranch``."""
        return self.decide(request, spending=spending).tier != self.tiers[0].name

    def escalated(self, decision: Decision, request: Request, verdict: Verdict) -> Decision | None:
        """The decision after a cheap answer failed its check: the next stronger tier that can answer, or ``None``."""
        above = range(self._place(decision.tier) + 1, len(self.tiers))
        able = [index for index in above if nearest_able(self.tiers, index, request)[1] is None]
        if not able:
            return None
        if request.session is not None:
            self._raise_session(request.session, able[0])
        reasoned = decision.with_reason(f"escalated: {verdict.reason}")
        return replace(reasoned, tier=self.tiers[able[0]].name, escalated=True, saved=self._saved(able[0], request))

    def cheaper(self, decision: Decision, request: Request, *, because: str = "budget") -> Decision | None:
        """The decision one admissible tier down (``on_exceed="downgrade"``), or ``None`` when there is none."""
        below = reversed(range(self._place(decision.tier)))
        able = [index for index in below if nearest_able(self.tiers, index, request)[1] is None]
        if not able:
            return None
        reasoned = decision.with_reason(f"downgraded: {because}")
        return replace(reasoned, tier=self.tiers[able[0]].name, saved=self._saved(able[0], request))

    def cheapest(self, decision: Decision, request: Request, *, because: str) -> Decision:
        """The decision at the cheapest tier that can answer the request, which may be the one that was made."""
        while (lower := self.cheaper(decision, request, because=because)) is not None:
            decision = lower
        return decision

    @property
    def share_now(self) -> float | None:
        """The share (0..1) of recent scored requests that went above the first tier; ``None``: none was scored."""
        with self._lock:
            return self._realised[0].value

    @property
    def drift(self) -> Drift:
        """How far recent scores are from those that the scorer was trained on; nothing for other scorers."""
        with self._lock:
            recent = list(self._recent_scores)
        return drift(self._training_quantiles, recent)

    def _decide(self, request: Request, spending: Spending | None, *, remember: bool) -> Decision:
        score, failure = self._scored(request)
        ranked = None if score is None or score.tier is not None else RankedScore.of(score.value, request.text)
        verdict = self._judged(request, ranked) if remember else None
        with self._lock:
            choice = self._wanted(score, ranked, verdict, spending)
            if remember and ranked is not None:
                self._remember(ranked, choice, spending)
            choice = self._able(self._within_means(choice, spending), request)
            choice = self._in_session(choice, request, remember=remember)
        reasons = (*(score.reasons if score else ()), *failure, *choice.reasons)
        value = None if score is None else score.value
        name = self.tiers[choice.tier].name
        return Decision(name, value, choice.cut, reasons, saved=self._saved(choice.tier, request))

    def _scored(self, request: Request) -> tuple[Score | None, tuple[Reason, ...]]:
        try:
            score = self._score(request)
        except Exception as error:  # a broken scorer must not cost the user the answer
            return None, (Reason(f"scorer failed: {type(error).__name__}"),)
        if score is None:
            return None, (Reason("no opinion"),)
        if not isinstance(score, Score):
            return None, (Reason(f"scorer failed: {type(score).__name__} is no Score"),)
        if score.value != score.value:  # not a number
            return None, (Reason("scorer failed: not a number"),)
        if score.tier is not None and score.tier not in self._index:
            return None, (Reason(f"unknown tier {score.tier}"),)
        return score, ()

    def _judged(self, request: Request, ranked: RankedScore | None) -> tuple[float | None, Reason] | None:
        """The judge's verdict and a note, or ``None`` when it need not be asked."""
        if self._judge is None or ranked is None or self._threshold is not None:
            return None
        with self._lock:
            rank = self._cut.rank(ranked)
        if not any(is_near(rank, share, within=NEAR) for share in self._shares):
            return None
        try:
            answer = self._judge(request)
            verdict = None if answer is None else float(answer)
        except Exception as error:
            return None, Reason(f"judge failed: {type(error).__name__}")
        return verdict, Reason("judge had no verdict") if verdict is None else Reason("judge", verdict)

    def _wanted(
        self,
        score: Score | None,
        ranked: RankedScore | None,
        verdict: tuple[float | None, Reason] | None,
        spending: Spending | None,
    ) -> _Choice:
        if score is None:
            return _Choice(self._default)
        if score.tier is not None:
            return _Choice(self._index[score.tier])
        assert ranked is not None
        if self._threshold is not None:
            return _Choice(int(score.value >= self._threshold), cut=self._threshold)
        rank = self._cut.rank(ranked)
        reasons: tuple[Reason, ...] = ()
        if verdict is not None:
            reasons = (verdict[1],)
            # Near the cut the judge only says which side: its scale is not the scorer's.
            rank = rank if verdict[0] is None else rank + (NEAR if verdict[0] >= 0.5 else -NEAR)
        return self._by_rank(rank, spending, reasons)

    def _by_rank(self, rank: float, spending: Spending | None, reasons: tuple[Reason, ...]) -> _Choice:
        targets = [self._target(level, spending) for level in range(len(self._shares))]
        reached = (level for level, share in enumerate(targets, start=1) if share > 0 and rank >= 1 - share)
        tier = max(reached, default=0)
        return _Choice(tier, reasons, cut=self._cut.above(targets[min(tier, len(targets) - 1)]))

    def _target(self, level: int, spending: Spending | None) -> float:
        """The share of requests that may go above the tier of index ``level`` now."""
        if spending is None:
            return self._realised[level].corrected(self._shares[level])
        # Under a budget the line says how much; pulling the share back as well would spend on easy questions.
        means, _ = eligible_share(spending)
        return min(self._shares[level], means) if self._has_share else means ** (level + 1)

    def _within_means(self, choice: _Choice, spending: Spending | None) -> _Choice:
        if spending is None:
            return choice
        means, reason = eligible_share(spending)
        return choice if means > 0 else choice.moved(0, reason)._replace(out_of_money=True)

    def _able(self, choice: _Choice, request: Request) -> _Choice:
        tier, reason = nearest_able(self.tiers, choice.tier, request)
        return choice.moved(tier, reason)

    def _in_session(self, choice: _Choice, request: Request, *, remember: bool) -> _Choice:
        if not self._sticky or request.session is None:
            return choice
        state = self._sessions.get(request.session)
        in_loop = request.phase is not Phase.USER
        switch = None if state is None else self._switch(state.tier, choice.tier, request)
        kept = keep_or_switch(state, choice.tier, in_loop=in_loop, switch=switch, out_of_money=choice.out_of_money)
        tier, _ = nearest_able(self.tiers, kept.tier, request)
        if remember:
            self._sessions.put(request.session, kept.state)
        return choice if tier == choice.tier else choice.moved(tier, kept.because)

    def _switch(self, here: int, there: int, request: Request) -> Switch | None:
        warm, cold = self.tiers[here].price, self.tiers[there].price
        if warm is None or cold is None:
            return None
        new = max(0, request.input_tokens - request.prefix_tokens)
        return switch_price(
            warm,
            cold,
            prefix_tokens=request.prefix_tokens,
            input_tokens=new,
            output_tokens=request.output_tokens,
            turns=TURNS_AHEAD,
        )

    def _remember(self, ranked: RankedScore, choice: _Choice, spending: Spending | None) -> None:
        self._cut.add(ranked)
        self._recent_scores.append(ranked.score)
        if spending is None:
            for level, realised in enumerate(self._realised, start=1):
                realised.add(strong=choice.tier >= level)

    def _raise_session(self, session: str, tier: int) -> None:
        with self._lock:
            state = self._sessions.get(session)
            if state is not None and state.tier < tier:
                self._sessions.put(session, state._replace(tier=tier))

    def _saved(self, tier: int, request: Request) -> int:
        here, strongest = self.tiers[tier].cost(request), self.tiers[-1].cost(request)
        return 0 if here is None or strongest is None else strongest - here

    def _place(self, name: object) -> int:
        if not isinstance(name, str) or name not in self._index:
            shown = repr(name) if isinstance(name, str) else type(name).__name__
            guess = f"{meant(name, self._index)} ".lstrip() if isinstance(name, str) else ""
            raise ConfigurationError(f"no tier is called {shown}; {guess}there are {', '.join(self._index)}")
        return self._index[name]


def _cumulative(share: float | Sequence[float] | None, tiers: int) -> list[float]:
    """Per tier above the first: the part of requests that goes there or higher."""
    if share is None:
        each = [1 / tiers] * (tiers - 1)
    elif isinstance(share, Sequence) and not isinstance(share, str):
        each = [number("share", part, at_least=0, at_most=1) for part in share]
    else:
        each = [0.0] * (tiers - 2) + [number("share", share, at_least=0, at_most=1)]
    if len(each) != tiers - 1 or sum(each) > 1 + 1e-9:
        raise ConfigurationError(
            f"share={share!r} for {tiers} tiers: give each tier above the first its part, sum <= 1"
        )
    return [min(1.0, sum(each[level:])) for level in range(tiers - 1)]
