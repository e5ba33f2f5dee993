"""The words that every room shares: small frozen values, no behaviour beyond arithmetic on themselves.

Money is an integer number of nano-dollars (1e-9 USD) everywhere inside Costguard; :func:`usd` turns it into the
``Decimal`` that leaves the building.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")

NANOS_PER_DOLLAR = 1_000_000_000

PricedBy = Literal["declared", "provider", "list", "estimate"]
"""Who says what a call cost: the user, the provider in its response, the seller's list price, or nobody for sure."""


def usd(nanos: int) -> Decimal:
    """Nano-dollars as exact ``Decimal`` dollars."""
    return Decimal(nanos).scaleb(-9)


def frozen_for_checkers(made: type[T]) -> type[T]:
    """The dataclass ``made`` is frozen for type checkers, and made in a third of the time.

    A frozen dataclass sets each of its fields by name through ``object.__setattr__``: 11 us for the 27 fields of a
    :class:`Call`, of which every request makes one, instead of 4 us. Nothing in Costguard writes to one (mypy sees to
    that). https://threeofwands.com/attra-iv-zero-overhead-frozen-attrs-classes/
    """
    given: Any = fields(made)  # type: ignore[arg-type]
    names = [(one.name, one.type, field(default=one.default)) for one in given]
    kind: Any = made
    open_twin: Any = make_dataclass(made.__name__, names)
    kind.__init__ = open_twin.__init__
    del kind.__setattr__, kind.__delattr__
    return made


@frozen_for_checkers
@dataclass(frozen=True, slots=True)
class Usage:
    """What one provider call consumed, in one convention: parts are *inside* their totals.

    Attributes:
        input_tokens: all tokens of the prompt, with its cached, cache-write, audio, image and video tokens.
        output_tokens: all tokens of the answer, with its reasoning, audio and image tokens.
        cache_read_tokens: input tokens that the provider read from its prompt cache.
        cache_write_tokens: input tokens that it wrote to it, with those written for an hour.
        cache_write_1h_tokens: input tokens written for an hour.
        audio_input_tokens: input tokens that are sound.
        audio_cache_read_tokens: input tokens that are sound and were read from the cache.
        audio_output_tokens: output tokens that are sound.
        image_input_tokens: input tokens that are pictures.
        image_output_tokens: output tokens that are pictures.
        reasoning_tokens: output tokens that the model thought in.
        web_searches: searches of the web that the provider ran, a number.
        tier: the service tier that was billed: ``"priority"``, ``"flex"``, ``"batch"``, ``"fast"``, ``"reserved"``
            (capacity that was bought ahead); ``None``: standard.
        estimated: a count was not reported, or cannot be true, and was counted locally.
        video_input_tokens: input tokens that are video.
        units: what else the provider bills by the piece: pairs of a name of :data:`BILLED_UNITS` and a count.
        others: tokens of *other* models that worked on the same call; they are in none of the counts above.
        stated_cost: what the provider says that the call cost, in nano-dollars; ``None``: it does not say.
        region_surcharge: percent that the provider adds to token prices for the place where the call ran.
        tier_stated: the provider said which tier it billed, the standard one included.
        request_id: the provider's id of the response, by which its invoice and its support know it.
        passes: the readings of the prompt that make up these counts, where the provider says them: each is billed by
            its own length.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_cache_read_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    reasoning_tokens: int = 0
    web_searches: int = 0
    tier: str | None = None
    estimated: bool = False
    video_input_tokens: int = 0
    units: tuple[tuple[str, int], ...] = ()
    others: tuple[ModelUsage, ...] = ()
    stated_cost: int | None = None
    region_surcharge: int = 0
    tier_stated: bool = field(default=False, compare=False)
    request_id: str | None = field(default=None, compare=False)
    passes: tuple[Usage, ...] = field(default=(), compare=False)

    @property
    def total_tokens(self) -> int:
        """Tokens of every model that worked on the call."""
        own = self.input_tokens + self.output_tokens
        return own + sum(other.usage.total_tokens for other in self.others) if self.others else own

    def to_json(self) -> dict[str, Any]:
        """What differs from an empty usage, as JSON data."""
        packed: dict[str, Any] = {}
        for name, default in _USAGE_FIELDS:
            value = getattr(self, name)
            if value != default:
                packed[name] = value
        if self.others:
            packed["others"] = [[other.model, other.usage.to_json()] for other in self.others]
        if self.passes:
            packed["passes"] = [one.to_json() for one in self.passes]
        return packed

    @classmethod
    def from_json(cls, packed: Mapping[str, Any]) -> Usage:
        """The usage that :meth:`to_json` wrote.

        Raises:
            TypeError, ValueError: it was not written by this release.
        """
        values = dict(packed)
        if "units" in values:
            values["units"] = tuple((str(name), int(count)) for name, count in values["units"])
        if "others" in values:
            values["others"] = tuple(ModelUsage(str(model), cls.from_json(usage)) for model, usage in values["others"])
        if "passes" in values:
            values["passes"] = tuple(map(cls.from_json, values["passes"]))
        return cls(**values)


class ModelUsage(NamedTuple):
    """What one model consumed inside a call to another one.

    Attributes:
        model: its name, as the provider bills it.
        usage: what it consumed.
    """

    model: str
    usage: Usage


_USAGE_FIELDS: tuple[tuple[str, Any], ...] = tuple((f.name, f.default) for f in fields(Usage))

TOKEN_COUNTS: tuple[str, ...] = tuple(name for name, default in _USAGE_FIELDS if name.endswith("_tokens"))
"""The fields of :class:`Usage` that count tokens."""

BILLED_UNITS: Mapping[str, str] = {
    "preview_search": "what a search by OpenAI's preview tool costs beyond a search of the web",
    "place_search": "a search in maps",
    "guardrail_unit": "a unit of text that a guardrail of the provider checked",
    "file_search": "a search in the provider's vector store",
    "code_session": "a container in which the provider ran code",
    "generated_image": "a picture that a tool of the provider made",
    "page": "a page of a document that was read (OCR)",
    "annotated_page": "a page that was read with annotations",
    "audio_second": "a second of sound",
    "character": "a character of text, where the provider bills those",
    "social_search": "a search in posts (xAI's X search)",
    "source": "a source that a live search used",
    "rerank": "a query of a reranker",
    "citation_token": "a token of a citation, where the provider bills those apart",
    "tool_call": "any other tool that the provider ran and bills by the call",
}
"""Names in :attr:`Usage.units`, and what each counts."""


# What calls can be attributed to by name, beside tags. The order is that of the fields of `Attribution`.
ATTRIBUTE_NAMES = ("user", "tenant", "session", "endpoint", "feature", "template")
ATTRIBUTES: tuple[str, ...] = (*ATTRIBUTE_NAMES, "documents")
LONGEST_VALUE = 200  # characters of one name or tag
MOST_TAGS = 16


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who and what caused a call. Every field is optional; calls that do not say share a scope of their own.

    A value is text: a number becomes its text, an empty one is ``None``, and one of more than 200 characters is
    shortened to its beginning and a hash of the whole, so that different values stay different.

    Attributes:
        user: who asked.
        tenant: the customer or organisation whose data and money it is; answers are never shared between tenants.
        session: the conversation.
        endpoint: the route or job of the application.
        feature: the part of the product.
        template: the name of the prompt.
        documents: what the answer is based on, so that ``cache.invalidate(document=...)`` finds it.
        tags: any other names and their values, at most 16, in the order of the names.
    """

    user: str | None = None
    tenant: str | None = None
    session: str | None = None
    endpoint: str | None = None
    feature: str | None = None
    template: str | None = None
    documents: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ATTRIBUTE_NAMES:
            value = getattr(self, name)
            if value is not None and not (type(value) is str and 0 < len(value) <= LONGEST_VALUE):
                object.__setattr__(self, name, attributed(value))

    def value(self, name: str) -> str | None:
        """What is given for ``name``: one of the fields, or a tag."""
        if name in ATTRIBUTE_NAMES:
            found: str | None = getattr(self, name)
            return found
        return next((value for tag, value in self.tags if tag == name), None)


def attributed(value: object) -> str | None:
    """``value`` as an attribution keeps it: text of at most 200 characters, ``None`` if there is none."""
    text = str(value)
    if not text:
        return None
    if len(text) <= LONGEST_VALUE:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{text[: LONGEST_VALUE - len(digest) - 1]}~{digest}"


class Baseline(NamedTuple):
    """What a routed call is held against: the model that would have answered without a router.

    ``owed`` is nano-dollars: what earlier calls for the same answer, which failed their check, were said to save too
    much. The saving of a routed call may therefore be negative.
    """

    model: str
    provider: str | None = None
    owed: int = 0


@frozen_for_checkers
@dataclass(frozen=True, slots=True)
class Call:
    """One provider call that somebody wants to make, in framework-neutral terms.

    ``input_tokens`` is the counted prompt (``None``: not counted, because no budget asked for it).
    ``max_output_tokens`` is the cap that the request itself carries (``None``: the request has none).
    ``choices`` is ``n``; ``attempts`` is how many provider attempts may be billed. ``cappable`` says that the
    integration point can send a smaller ``max_output_tokens`` than the request asked for.
    ``output_ceiling`` is the most that the model can produce, if known; ``reasoning`` says that it thinks in hidden
    tokens, so that an unlimited request is assumed to be longer. ``cache_writes`` says that the request asks the
    provider to cache its prompt, which some bill above the input price. ``started`` is unix seconds.
    ``route`` is a router's decision in one line, ``baseline`` what it is compared with.
    ``host`` is the host name of the base URL, where the client has one; ``account`` an alias of the key or project
    that is billed, never the key itself. ``audio_tokens`` of the ``input_tokens`` are sound, and ``speaks`` says that
    the answer may be sound. ``searches`` is how many searches of the web the provider may run, and
    ``result_tokens`` what its tools may add to the prompt that was counted. ``thinking_tokens`` is how long the
    request lets the model think, inside its answer; ``context_tokens`` is what prompt and answer may have together.
    ``cache_for_hour`` says that a part of the prompt is to stay in the provider's cache for an hour.
    ``step`` is the fingerprint of what the session's latest turn says (see :func:`step_of`).
    ``visual_tokens`` of the ``input_tokens`` are pictures and video. ``tool_pieces`` is what else the provider's tools
    may bill by the piece (names of :data:`BILLED_UNITS`), and ``tool_pictures`` which models may draw how many tokens.
    """

    id: str
    model: str
    started: float
    provider: str | None = None
    attribution: Attribution = Attribution()
    input_tokens: int | None = None
    input_estimated: bool = False
    max_output_tokens: int | None = None
    output_ceiling: int | None = None
    reasoning: bool = False
    cache_writes: bool = False
    choices: int = 1
    attempts: int = 1
    tier: str | None = None
    cappable: bool = False
    kind: str = "chat"
    fingerprint: str | None = None
    route: str | None = None
    baseline: Baseline | None = None
    host: str | None = None
    account: str | None = None
    audio_tokens: int = 0
    speaks: bool = False
    searches: int = 0
    result_tokens: int = 0
    thinking_tokens: int = 0
    context_tokens: int | None = None
    step: str | None = None
    cache_for_hour: bool = False
    visual_tokens: int = 0
    tool_pieces: tuple[tuple[str, int], ...] = ()
    tool_pictures: tuple[tuple[str, int], ...] = ()


_CALL_IDS = re.compile(r"\b(?:call|toolu|fc|chatcmpl|tool)_[A-Za-z0-9_-]+")


def step_of(texts: Sequence[str]) -> str | None:
    """The fingerprint of a session's latest step: its last two messages, without ids of tool calls.

    ``texts`` are roles and texts of the messages, one after the other. ``None`` for a prompt of one or two messages:
    its step is all of it.
    """
    return fingerprint([_CALL_IDS.sub("", text) for text in texts[-4:]]) if len(texts) > 4 else None


def fingerprint(texts: Iterable[str]) -> str:
    """16 hexadecimal digits by which equal prompts are recognised in the ledger, which never holds their text."""
    return blake2b("\x00".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


MARK = "costguard"
"""The entry of an answer's metadata that is Costguard's; also that of a run, by which handlers know a guarded model."""

LEASE_EXPIRED = "lease expired"
"""The reason of an abandoned call that somebody else charged, because its process has not ended it in time."""
NOT_SENT = "not sent"
"""In the reason of a call that failed: no connection was made, so that the provider never saw it."""
CONNECTION_LOST = "connection lost"
"""In the reason of a call that failed: the connection broke when the request may have been sent."""


class Outcome(StrEnum):
    """How a call ended. ``miss`` is a paid call; ``exact``/``semantic``/``coalesced`` were served without one."""

    MISS = "miss"
    EXACT = "exact"
    SEMANTIC = "semantic"
    COALESCED = "coalesced"
    REFUSED = "refused"
    ERROR = "error"
    ABANDONED = "abandoned"

    @property
    def is_hit(self) -> bool:
        return self in (Outcome.EXACT, Outcome.SEMANTIC, Outcome.COALESCED)


class UsageReport(NamedTuple):
    """What is known about a call that has ended. Functions are called only if the provider's own report is not enough.

    Attributes:
        usage: what the provider reported, or ``None``: then prompt and answer are counted here.
        model: the model that the provider says it used.
        text: gives all that was answered, tool calls included; ``None``: it is not known what arrived, if anything.
        prompt_tokens: counts the prompt, for calls whose :attr:`Call.input_tokens` no budget needed.
        prompt_letters: gives the length of the prompt's text in characters, which tells absurd counts.
    """

    usage: Usage | None = None
    model: str | None = None
    text: Callable[[], str] | None = None
    prompt_tokens: Callable[[], int] | None = None
    prompt_letters: Callable[[], int] | None = None


class Charge(NamedTuple):
    """What a call cost.

    Attributes:
        cost: nano-dollars; ``None``: the price is unknown.
        usage: what was consumed.
        estimated: counts of the usage were not reported, or the price is a guess.
        model: the name that was priced.
        priced_by: who says so, ``None``: nobody.
        unpriced: what is billed beside it and has no known price, so that ``cost`` is a floor.
        price_source: whose list the price is from, and which version, such as ``"LiteLLM 1.110.2"``; ``None``: no list.
        totals: what the counters of the call's permit had settled with it, in the order of its lines; empty where
            nothing is limited or the counter store is away.
    """

    cost: int | None
    usage: Usage
    estimated: bool
    model: str
    priced_by: PricedBy | None = None
    unpriced: tuple[str, ...] = ()
    price_source: str | None = None
    totals: tuple[int, ...] = ()

    @property
    def usd(self) -> Decimal | None:
        return None if self.cost is None else usd(self.cost)


@frozen_for_checkers
@dataclass(frozen=True, slots=True)
class Event:
    """The one record of a call: what the ledger stores and what hooks receive. Never holds prompt or answer text.

    ``cost`` and ``saved`` are nano-dollars (``cost=None``: the model has no price). ``saved`` is what a hit did not
    cost, or what the router's choice of model did not (negative, where an escalation made an answer dearer).
    ``latency`` is seconds. ``route`` is a router's decision in one line, ``shadow: tier`` for a second answer.
    ``reason`` is the name of the budget that refused, or the class name of the error, with what became of its
    connection: ``"APIConnectionError (connection lost)"``.
    ``model`` is the name that was priced, ``requested_model`` the one that was asked for and ``answered_model`` the one
    that the provider says it used. ``priced_by`` says whose price it is; ``unpriced`` names what is billed beside
    ``cost`` and has no known price, so that ``cost`` is a floor. ``request_id`` is the provider's id of the response,
    ``host`` the host name that was called, ``account`` an alias of the key or project that is billed.
    ``price_source`` is the list that the price is from, and its version.
    """

    id: str
    time: float
    outcome: Outcome
    model: str
    provider: str | None = None
    attribution: Attribution = Attribution()
    usage: Usage = Usage()
    cost: int | None = 0
    saved: int = 0
    estimated: bool = False
    latency: float = 0.0
    kind: str = "chat"
    fingerprint: str | None = None
    reason: str | None = None
    route: str | None = None
    priced_by: PricedBy | None = None
    unpriced: tuple[str, ...] = ()
    requested_model: str | None = None
    answered_model: str | None = None
    request_id: str | None = None
    host: str | None = None
    account: str | None = None
    price_source: str | None = None


class Alert(NamedTuple):
    """What somebody should hear of at once. Sent to hooks.

    Attributes:
        budget: the name of the budget or rule.
        scope: whose it is.
        fraction: how much of the limit is used: 0.8 at 80 %.
        unit: of ``limit`` and ``settled``.
        limit: in the unit.
        settled: in the unit.
        time: unix seconds.
        kind: ``"budget"``: a fraction of its limit is used, told once per period and scope; ``"breaker"``: it opened;
            ``"loop"``: a session was stopped; ``"wrap up"``: an agent was told to conclude; ``"agent"``: one was
            stopped; ``"emergency"``: caps for everybody are in force.
        text: the same in words, where numbers do not say it.
    """

    budget: str
    scope: tuple[tuple[str, str], ...]
    fraction: float
    unit: str
    limit: int
    settled: int
    time: float
    kind: str = "budget"
    text: str = ""
