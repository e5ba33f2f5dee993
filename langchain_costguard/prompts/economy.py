"""Fewer and cheaper prompt tokens for LangChain, each step asked for and none of it silent.

The decisions are those of :mod:`costguard_core.prompts.compression` and :mod:`costguard_core.prompts.prompt_cache`;
here they are applied to LangChain's messages and documents.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from langchain_core.callbacks import CallbackManagerForChainRun, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from pydantic import ConfigDict

from costguard_core.attribution import current_attribution
from costguard_core.errors import ConfigurationError
from costguard_core.prompts import compression as core
from costguard_core.prompts.compression import Count, Saving
from costguard_core.prompts.prompt_cache import MIN_CACHED_TOKENS, Lint, breakpoints, stable_first
from costguard_core.routing import Message
from costguard_core.usage.token_counter import TokenCounter
from langchain_costguard.router import translate as routes

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
_CLEANED = ("system", "human")  # what a model said, and what a tool gave, is data
_SITES = 1000  # call sites whose last prompt is remembered
_log = logging.getLogger("costguard")


class Step(NamedTuple):
    """What one step did to one prompt. Tokens are counted; ``dropped`` says how many parts are gone."""

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
    """What a step did to all prompts so far."""

    prompts: int = 0
    before: int = 0
    after: int = 0
    dropped: int = 0
    may_lose: str = ""

    @property
    def saved(self) -> int:
        """Tokens."""
        return self.before - self.after


@dataclass(slots=True)
class EconomyReport:
    """``steps`` by name; ``shared`` of ``total`` prompt tokens were the same prefix as in the request before from the
    same call site, which is what a provider's prompt cache can reuse; ``findings`` are what defeats it.
    """

    steps: dict[str, Totals] = field(default_factory=dict)
    shared: int = 0
    total: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = [
            f"{name}: {found.saved:,} of {found.before:,} tokens saved in {found.prompts:,} prompts, "
            f"{found.dropped:,} parts dropped; may lose {found.may_lose}"
            for name, found in self.steps.items()
        ]
        if self.total:
            told.append(f"prefix: {self.shared:,} of {self.total:,} tokens were those of the request before")
        return "\n".join([*told, *(f"lint: {finding}" for finding in self.findings)]) or "nothing done yet"


class PromptEconomy(Runnable[LanguageModelInput, list[BaseMessage]]):
    """A link of a chain, before the model: ``prompt | PromptEconomy(max_tokens=8000, cache_marks=True) | model``.

    Nothing is done that is not asked for, except that prefixes are looked at (``lint``), which changes nothing. What
    was done is logged (INFO), told to ``on_step``, added up in :meth:`report`, and visible in traces as this link's
    output.

    Args:
        max_tokens: drop the oldest turns in one step when a conversation is longer, down to ``keep`` (0..1) of it.
        clean: without doubled blanks, runs of empty lines and invisible characters, in system and human messages.
        cache_marks: Anthropic's ``cache_control``, after the system prompt and before the question, where the prefix is
            long enough. Prompts that have marks already are left alone. Other providers ignore or refuse them.
        lint: warn, once, of dates, ids and the like that defeat the provider's prompt cache.
        count: tokens of a text; by default OpenAI's tokenizer, or an estimate where it is not installed.
        on_step: called with every :class:`Step` that changed something.
    """

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
        if (max_tokens is not None and max_tokens < 1) or not 0 < keep <= 1:
            raise ConfigurationError("max_tokens= is 1 or more, keep= is a part of it: above 0, at most 1")
        self._max_tokens, self._keep, self._clean, self._marks, self._lint = max_tokens, keep, clean, cache_marks, lint
        self._count, self._on_step = count or counted, on_step
        self._lock, self._report = Lock(), EconomyReport()
        self._previous: OrderedDict[str | None, tuple[Message, ...]] = OrderedDict()

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> list[BaseMessage]:
        return self._call_with_config(self._applied, input, config)

    def report(self) -> EconomyReport:
        """What was saved so far, and what it may have lost."""
        with self._lock:
            steps = {name: Totals(*_values(found)) for name, found in self._report.steps.items()}
            return EconomyReport(steps, self._report.shared, self._report.total, list(self._report.findings))

    def _applied(
        self, input: LanguageModelInput, run_manager: CallbackManagerForChainRun, config: RunnableConfig
    ) -> list[BaseMessage]:
        messages = routes.messages_of(input)
        if self._clean:
            cleaned = cleaned_messages(messages, count=self._count)
            messages = self._told("clean", cleaned, "blanks that meant something outside of code")
        if self._max_tokens is not None:
            cut = trimmed_messages(messages, max_tokens=self._max_tokens, keep=self._keep, count=self._count)
            messages = self._told("trim", cut, "what was said in the oldest turns")
        if self._lint:
            self._look(messages, ensure_config(config))
        return cache_marked(messages, count=self._count) if self._marks else messages

    def _told(self, name: str, saving: Saving[list[BaseMessage]], may_lose: str) -> list[BaseMessage]:
        step = Step(name, saving.before, saving.after, len(saving.dropped), may_lose)
        with self._lock:
            found = self._report.steps.setdefault(name, Totals(may_lose=may_lose))
            found.prompts, found.dropped = found.prompts + 1, found.dropped + step.dropped
            found.before, found.after = found.before + step.before, found.after + step.after
        if step.dropped:
            _log.info("costguard: prompt economy, %s", step)
            self._on_step(step)
        return saving.value

    def _look(self, messages: Sequence[BaseMessage], config: RunnableConfig) -> None:
        site = current_attribution(config.get("metadata")).endpoint
        plain = tuple(_plain(message) for message in messages)
        with self._lock:
            found = stable_first(plain, previous=self._previous.get(site), count=self._count)
            self._previous[site] = plain
            self._previous.move_to_end(site)
            if len(self._previous) > _SITES:
                self._previous.popitem(last=False)
            self._report.total += found.total_tokens
            self._report.shared += found.shared_tokens or 0
            # The position moves with the text: what is told once is what and where, roughly.
            told = {f"{site or '(no call site)'}, message {one.message}: {one.kind}": one for one in found.findings}
            fresh = {name: one for name, one in told.items() if name not in self._report.findings}
            self._report.findings.extend(fresh)
        for name, finding in fresh.items():
            _log.warning("costguard: the provider's prompt cache is defeated at %s: %s", name, finding)


class SentenceFilter(BaseDocumentCompressor):
    """Keeps the sentences of retrieved documents that share words with the question (BM25); no model is asked.

    Use it as the ``base_compressor`` of a ``ContextualCompressionRetriever``, or call :meth:`compress_documents`. Each
    document says what is gone: ``metadata["costguard"] = {"before": …, "after": …, "dropped_sentences": …}`` (tokens).
    Measured: at 70 / 50 / 33 % kept, 4 / 11 / 17 % of the words of the right answers are lost.

    Args:
        keep: the part (0..1) of each document's tokens to keep.
        count: tokens of a text.
    """

    keep: float = 0.5
    count: Callable[[str], int] | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        return [self._kept(document, query) for document in documents]

    def _kept(self, document: Document, query: str) -> Document:
        found = core.relevant(document.page_content, query, keep=self.keep, count=self.count or counted)
        told = {"before": found.before, "after": found.after, "dropped_sentences": len(found.dropped)}
        metadata = {**document.metadata, "costguard": told}
        return document.model_copy(update={"page_content": found.value, "metadata": metadata})


def counted(text: str) -> int:
    """Tokens of a text by OpenAI's tokenizer; about right for others."""
    return TokenCounter().count(text, model="gpt-4o").tokens


def linted(messages: Sequence[BaseMessage], *, previous: Sequence[BaseMessage] | None = None) -> Lint:
    """What in a prompt defeats the provider's prompt cache.

    See :func:`costguard_core.prompts.prompt_cache.stable_first`.
    """
    before = None if previous is None else [_plain(message) for message in previous]
    return stable_first([_plain(message) for message in messages], previous=before, count=counted)


def trimmed_messages(
    messages: Sequence[BaseMessage], *, max_tokens: int, keep: float = 0.5, count: Count = counted
) -> Saving[list[BaseMessage]]:
    """The oldest turns dropped in one step, whole turns only: :func:`costguard_core.prompts.compression.trimmed`."""
    plain = [_plain(message) for message in messages]
    found = core.trimmed(plain, max_tokens=max_tokens, keep=keep, count=count)
    kept = {id(message) for message in found.value}
    value = [message for message, row in zip(messages, plain, strict=True) if id(row) in kept]
    return Saving(value, found.before, found.after, found.dropped)


def cleaned_messages(messages: Sequence[BaseMessage], *, count: Count = counted) -> Saving[list[BaseMessage]]:
    """Blanks and invisible characters taken out of system and human texts.

    See :func:`costguard_core.prompts.compression.clean`.
    """
    value, before, after, dropped = [], 0, 0, 0
    for message in messages:
        made = message
        if message.type in _CLEANED and isinstance(message.content, str):
            found = core.clean(message.content, count=count)
            before, after = before + found.before, after + found.after
            if found.dropped:
                made, dropped = message.model_copy(update={"content": found.value}), dropped + 1
        value.append(made)
    return Saving(value, before, after, ("blanks",) * dropped)


def cache_marked(
    messages: Sequence[BaseMessage], *, minimum: int = MIN_CACHED_TOKENS, ttl: str | None = None, count: Count = counted
) -> list[BaseMessage]:
    """Copies with Anthropic's ``cache_control`` where :func:`costguard_core.prompts.prompt_cache.breakpoints` says.

    A write costs 1.25 times its input (``ttl="1h"``: twice), a read a tenth: one reuse pays. Prompts that have marks,
    and messages without text, are left as they are. What was read is in the ledger as ``cache_read_tokens``.
    """
    if any(_is_marked(message) for message in messages):
        return list(messages)
    control = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    places = breakpoints([_plain(message) for message in messages], minimum=minimum, count=count)
    return [_marked(message, control) if place in places else message for place, message in enumerate(messages)]


def _marked(message: BaseMessage, control: dict[str, str]) -> BaseMessage:
    content = message.content
    blocks: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    last = blocks[-1] if blocks else None
    if not isinstance(last, dict) or last.get("type") != "text" or not last.get("text"):
        return message
    return message.model_copy(update={"content": [*blocks[:-1], {**last, "cache_control": control}]})


def _is_marked(message: BaseMessage) -> bool:
    blocks = message.content if isinstance(message.content, list) else []
    return any(isinstance(block, dict) and "cache_control" in block for block in blocks)


def _plain(message: BaseMessage) -> Message:
    text = message.content if isinstance(message.content, str) else str(message.text)
    if isinstance(message, AIMessage) and message.tool_calls:
        text += json.dumps([[call["name"], call["args"]] for call in message.tool_calls], default=str)
    return Message(ROLES.get(message.type, "user"), text)


def _values(found: Totals) -> tuple[int, int, int, int, str]:
    return found.prompts, found.before, found.after, found.dropped, found.may_lose
