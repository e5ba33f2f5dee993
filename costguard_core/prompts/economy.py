"""Fewer and cheaper prompt tokens, each step asked for and none of it silent: the part that all frameworks share.

What is done to a prompt is decided by :mod:`costguard_core.prompts.compression` and
:mod:`costguard_core.prompts.prompt_cache`; an adapter translates its messages (:class:`PromptMessages`).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from costguard_core.prompts.compression import Count, Saving, clean, trimmed
from costguard_core.prompts.prompt_cache import MIN_CACHED_TOKENS, Lint, breakpoints, stable_first
from costguard_core.routing.request import Message
from costguard_core.usage.token_counter import TokenCounter
from costguard_core.util.forks import renew_locks
from costguard_core.util.lru import LRUMap
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.options import check_flag, check_function, names_options

M = TypeVar("M")
"""A message, as the framework has it."""

_MAX_SITES = 1000  # call sites whose last prompt is remembered (a choice: prompts may be long)
_CLEANED_ROLES = ("system", "user")  # what a model or a tool wrote is data
_log = logging.getLogger("costguard")


class Step(NamedTuple):
    """What one step did to one prompt.

    Attributes:
        name: of the step.
        before: tokens that the prompt had.
        after: tokens that it has now.
        dropped: how many parts are gone.
        may_lose: what an answer may miss because of it.
    """

    name: str
    before: int
    after: int
    dropped: int
    may_lose: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.before - self.after} of {self.before} tokens ({self.dropped} dropped: {self.may_lose})"
        )


@dataclass(slots=True)
class Totals:
    """What a step did to all prompts so far.

    Attributes:
        prompts: how many.
        before: tokens that they had.
        after: tokens that they have now.
        dropped: how many parts are gone.
        may_lose: what answers may miss because of it.
    """

    prompts: int = 0
    before: int = 0
    after: int = 0
    dropped: int = 0
    may_lose: str = ""

    @property
    def saved(self) -> int:
        """Tokens saved."""
        return self.before - self.after


@dataclass(slots=True)
class EconomyReport:
    """What was done so far.

    Attributes:
        steps: by name.
        shared: prompt tokens that were the same prefix as in the request before from the same call site, which is what
            a provider's prompt cache can reuse.
        total: prompt tokens of all requests.
        findings: what defeats the provider's prompt cache.
    """

    steps: dict[str, Totals] = field(default_factory=dict)
    shared: int = 0
    total: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{name}: {step.saved:,} of {step.before:,} tokens saved in {step.prompts:,} prompts, "
            f"{step.dropped:,} parts dropped; may lose {step.may_lose}"
            for name, step in self.steps.items()
        ]
        if self.total:
            lines.append(f"prefix: {self.shared:,} of {self.total:,} tokens were those of the request before")
        return "\n".join([*lines, *(f"lint: {finding}" for finding in self.findings)]) or "nothing done yet"


def count_tokens(text: str) -> int:
    """Tokens of a text by OpenAI's tokenizer, or an estimate where it is not installed; about right for others."""
    return TokenCounter().count(text, model="gpt-4o").tokens


class PromptMessages(ABC, Generic[M]):
    """The steps over a framework's messages; an adapter says what a message holds."""

    @abstractmethod
    def plain(self, message: M) -> Message:
        """Its role and its text, calls of tools included."""

    @abstractmethod
    def text(self, message: M) -> str | None:
        """Its content, if that is one text; ``None``: it has parts, which are not cleaned."""

    @abstractmethod
    def with_text(self, message: M, text: str) -> M:
        """A copy with another text."""

    @abstractmethod
    def has_cache_mark(self, message: M) -> bool:
        """Whether it asks the provider to cache the prompt up to it."""

    @abstractmethod
    def with_cache_mark(self, message: M, control: Mapping[str, str]) -> M:
        """A copy that asks for it with Anthropic's ``cache_control``; the message itself if it ends with no text."""

    def trimmed(
        self, messages: Sequence[M], *, max_tokens: int, keep: float = 0.5, count: Count = count_tokens
    ) -> Saving[list[M]]:
        """The oldest turns dropped in one step, whole turns only (:func:`costguard_core.prompts.compression.trimmed`).

        Args:
            messages: the whole conversation.
            max_tokens: below which nothing is dropped.
            keep: the part (0..1) of ``max_tokens`` to which it is cut.
            count: tokens of a text.
        """
        plain = list(map(self.plain, messages))
        saving = trimmed(plain, max_tokens=max_tokens, keep=keep, count=count)
        kept = {id(message) for message in saving.value}
        value = [message for message, row in zip(messages, plain, strict=True) if id(row) in kept]
        return Saving(value, saving.before, saving.after, saving.dropped)

    def cleaned(self, messages: Sequence[M], *, count: Count = count_tokens) -> Saving[list[M]]:
        """Blanks and invisible characters taken out of system and user texts (see ``compression.clean``)."""
        value, before, after, dropped = [], 0, 0, 0
        for message in messages:
            text = self.text(message) if self.plain(message).role in _CLEANED_ROLES else None
            if text is None:
                value.append(message)
                continue
            saving = clean(text, count=count)
            before, after = before + saving.before, after + saving.after
            dropped += bool(saving.dropped)
            value.append(self.with_text(message, saving.value) if saving.dropped else message)
        return Saving(value, before, after, ("blanks",) * dropped)

    def cache_marked(
        self,
        messages: Sequence[M],
        *,
        minimum: int = MIN_CACHED_TOKENS,
        ttl: str | None = None,
        count: Count = count_tokens,
    ) -> list[M]:
        """Copies with Anthropic's ``cache_control`` where ``prompt_cache.breakpoints`` says.

        A write costs 1.25 times its input (``ttl="1h"``: twice), a read a tenth, so one reuse pays
        (https://platform.claude.com/docs/en/build-with-claude/prompt-caching). Prompts that have marks are left as they
        are. What was read is in the ledger as ``cache_read_tokens``.
        """
        if any(map(self.has_cache_mark, messages)):
            return list(messages)
        control = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
        places = breakpoints(list(map(self.plain, messages)), minimum=minimum, count=count)
        return [
            self.with_cache_mark(message, control) if place in places else message
            for place, message in enumerate(messages)
        ]

    def linted(
        self, messages: Sequence[M], *, previous: Sequence[M] | None = None, count: Count = count_tokens
    ) -> Lint:
        """What in a prompt defeats the provider's prompt cache (see ``prompt_cache.stable_first``)."""
        before = None if previous is None else list(map(self.plain, previous))
        return stable_first(list(map(self.plain, messages)), previous=before, count=count)


@names_options
class EconomySteps(Generic[M]):
    """The steps that were asked for, applied to one prompt after another. Thread-safe.

    Nothing is done that is not asked for, except that prefixes are looked at (``lint``), which changes nothing. What
    was done is logged (INFO), passed to ``on_step`` and added up in :meth:`report`. An adapter's class derives from
    this one and sets ``messages``.

    Args:
        max_tokens: drop the oldest turns in one step when a conversation is longer, down to ``keep`` (0..1) of it.
        clean: without doubled blanks, runs of empty lines and invisible characters, in system and user messages.
        cache_marks: Anthropic's ``cache_control``, after the system prompt and before the question, where the prefix is
            long enough. Prompts that have marks already are left alone. Other providers ignore or refuse them.
        lint: warn, once, of dates, ids and the like that defeat the provider's prompt cache.
        count: tokens of a text; by default :func:`count_tokens`.
        on_step: called with every :class:`Step` that changed something.

    Raises:
        ConfigurationError: ``max_tokens`` or ``keep`` out of range.
    """

    messages: PromptMessages[M]

    def __init__(
        self,
        *,
        max_tokens: int | None = None,
        keep: float = 0.5,
        clean: bool = False,
        cache_marks: bool = False,
        lint: bool = True,
        count: Count | None = None,
        on_step: Callable[[Step], object] = lambda _: None,
    ) -> None:
        if max_tokens is not None:
            whole_number("max_tokens", max_tokens, at_least=1)
        number("keep", keep, above=0, at_most=1)
        for option, flag in (("clean", clean), ("cache_marks", cache_marks), ("lint", lint)):
            check_flag(option, flag)
        check_function("count", count, "a function of a text that returns its tokens")
        check_function("on_step", on_step, "a function of a Step")
        self._max_tokens, self._keep = max_tokens, keep
        self._clean, self._cache_marks, self._lint = clean, cache_marks, lint
        self._count, self._on_step = count or count_tokens, on_step
        self._lock, self._report = Lock(), EconomyReport()
        renew_locks(self, "_lock")
        self._previous: LRUMap[str | None, tuple[Message, ...]] = LRUMap(_MAX_SITES)

    def applied(self, messages: Sequence[M], site: str | None) -> list[M]:
        """The messages to send. ``site`` is where the call is made: prompts of one call site are compared."""
        steps, count, result = self.messages, self._count, list(messages)
        if self._clean:
            cleaned = steps.cleaned(result, count=count)
            result = self._record("clean", cleaned, "blanks that meant something outside of code")
        if self._max_tokens is not None:
            cut = steps.trimmed(result, max_tokens=self._max_tokens, keep=self._keep, count=count)
            result = self._record("trim", cut, "what was said in the oldest turns")
        if self._lint:
            self._look(result, site)
        return steps.cache_marked(result, count=count) if self._cache_marks else result

    def report(self) -> EconomyReport:
        """What was saved so far, and what it may have lost."""
        with self._lock:
            steps = {name: replace(totals) for name, totals in self._report.steps.items()}
            return replace(self._report, steps=steps, findings=list(self._report.findings))

    def _record(self, name: str, saving: Saving[list[M]], may_lose: str) -> list[M]:
        step = Step(name, saving.before, saving.after, len(saving.dropped), may_lose)
        with self._lock:
            totals = self._report.steps.setdefault(name, Totals(may_lose=may_lose))
            totals.prompts, totals.dropped = totals.prompts + 1, totals.dropped + step.dropped
            totals.before, totals.after = totals.before + step.before, totals.after + step.after
        if step.dropped:
            _log.info("costguard: prompt economy, %s", step)
            self._on_step(step)
        return saving.value

    def _look(self, messages: Sequence[M], site: str | None) -> None:
        """Compare a prompt with the one before it, and warn of what is new in what defeats the prompt cache."""
        plain = tuple(map(self.messages.plain, messages))
        with self._lock:
            lint = stable_first(plain, previous=self._previous.get(site), count=self._count)
            self._previous.put(site, plain)
            report = self._report
            report.total += lint.total_tokens
            report.shared += lint.shared_tokens or 0
            # The position moves with the text, so that a finding is known by its message and its kind.
            findings = {f"{site or '(no call site)'}, message {one.message}: {one.kind}": one for one in lint.findings}
            new = {name: one for name, one in findings.items() if name not in report.findings}
            report.findings.extend(new)
        for name, finding in new.items():
            _log.warning("costguard: the provider's prompt cache is defeated at %s: %s", name, finding)
