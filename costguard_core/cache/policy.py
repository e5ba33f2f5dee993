"""What may be cached, and for how long: rules about the request, its question, and the answer.

The rules about questions read the words only, and err towards paying: a false alarm costs one call, a miss serves a
wrong answer. English is read fully. In some other languages, questions that ask how something is done or what it is are
recognised as general; everything else in another language is :attr:`Classification.unread`. Extend the rules with
``CachePolicy(never_cache=(predicate, ...))``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from types import MappingProxyType, NoneType
from typing import NamedTuple

from costguard_core.cache.answer import Answer
from costguard_core.cache.control import CacheControl, current_control
from costguard_core.cache.keys import TAG_NAMES, CacheKey, Uncacheable, in_order, scoped_digest, tags_of
from costguard_core.cache.language import word_lists
from costguard_core.cache.language.detection import is_english, language_of
from costguard_core.cache.language.english import corrected
from costguard_core.errors import ConfigurationError
from costguard_core.types import ATTRIBUTE_NAMES, Attribution
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.options import check_choice, check_flag, check_kind, names_options, shown

# Why the provider stopped, in the words of OpenAI (both APIs), Anthropic, Gemini and Bedrock, lower case. Anything
# here means that the answer is not the whole answer.
INCOMPLETE = frozenset(
    (
        "length max_tokens max_output_tokens content_filter content_filtered refusal safety recitation blocklist "
        "prohibited_content spii malformed_function_call guardrail_intervened model_length incomplete failed cancelled "
        "error other pause_turn model_context_window_exceeded"
    ).split()
)


class Request(NamedTuple):
    """What the rules may ask about a request.

    Attributes:
        digest: of everything that changes the answer, before scope.
        model: the name that the request gives.
        question: the text of the last message when a human wrote it.
        dynamic, personal, unread: what :func:`classify` says of the question (see :meth:`classified`).
        temperature: ``None`` if the request sets none.
        choices: how many answers it asks for.
        live_tools: it offers tools that fetch live data.
        attribution: who asks.
        caller: who signs in by headers, as a digest that shows no secret; empty: nobody does.
    """

    digest: str
    model: str | None = None
    question: str = ""
    dynamic: bool = False
    personal: bool = False
    unread: bool = False
    temperature: float | None = None
    choices: int = 1
    live_tools: bool = False
    attribution: Attribution = Attribution()
    caller: str = ""

    def classified(self) -> Request:
        """With ``dynamic``, ``personal`` and ``unread`` as the question's words say."""
        return self._replace(**classify(self.question)._asdict())


Predicate = Callable[[Request], bool]


@names_options
@dataclass(frozen=True, slots=True)
class CachePolicy:
    """The rules. The defaults prefer a paid answer to a wrong one.

    Attributes:
        scope: attribution fields that partition the cache. Tenants never share; add ``"user"`` for private answers.
        max_temperature: requests above it ask for variety and are not cached. The default 1.0 is every provider's own
            default, so ordinary requests are cached; 0.0 caches only requests that ask for temperature 0. Unset
            temperature is always cached. ``None``: no limit.
        max_choices: largest ``n`` that is cached; the entry holds all of them or is not stored.
        min_bytes, max_bytes: size of the encoded answer.
        ttl: seconds an entry lives; ``None``: until evicted or invalidated.
        ttl_jitter: each entry's life is stretched or shortened by up to this fraction, so that entries that were
            stored together do not expire together.
        ttl_by: seconds by tag, e.g. ``{"endpoint=/news": 60, "model=gpt-4o": 3600}``; the shortest that applies wins.
        cache_personal: also cache questions about the person who asks. Without it they are cached only when the scope
            includes the user and the user is known. Questions in a language that the rules do not read are cached for
            the user who asks, and not at all where no user is known.
        cache_dynamic: also cache questions whose answer depends on the time, and requests with hosted tools that
            fetch live data.
        share_across_credentials: callers who sign in by different headers (``Authorization``, ``X-Api-Key`` …) share
            answers. Without it they do not, because a gateway may answer each from what that caller may see.
        never_cache: further predicates over :class:`Request`; true declines. They must depend on the request only.
        wait: seconds that an identical concurrent request waits for the first one's answer before it pays itself;
            zero turns single flight off.
        by_endpoint: rules by endpoint, which take the place of these for what decides about a request: ``scope``,
            ``max_temperature``, ``max_choices``, ``ttl``, ``ttl_by``, ``cache_personal``, ``cache_dynamic``,
            ``share_across_credentials`` and ``never_cache``.
    """

    scope: tuple[str, ...] = ("tenant",)
    max_temperature: float | None = 1.0
    max_choices: int = 16
    min_bytes: int = 0
    max_bytes: int = 1_000_000
    ttl: float | None = None
    ttl_jitter: float = 0.1
    ttl_by: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    cache_personal: bool = False
    cache_dynamic: bool = False
    share_across_credentials: bool = False
    never_cache: tuple[Predicate, ...] = ()
    wait: float = 60.0
    by_endpoint: Mapping[str, CachePolicy] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if isinstance(self.scope, str):  # one name is welcome
            object.__setattr__(self, "scope", (self.scope,))
        check_kind("scope", self.scope, (tuple, list, set, frozenset), 'names such as ("tenant", "user")')
        for name in self.scope:
            check_choice("cache scope", name, ATTRIBUTE_NAMES)
        if callable(self.never_cache):
            object.__setattr__(self, "never_cache", (self.never_cache,))
        self._check_collections()
        number("ttl_jitter", self.ttl_jitter, at_least=0, below=1)
        if self.max_temperature is not None:
            number("max_temperature", self.max_temperature, at_least=0)
        whole_number("max_choices", self.max_choices, at_least=1)
        whole_number("min_bytes", self.min_bytes, at_least=0)
        whole_number("max_bytes", self.max_bytes, at_least=1)
        number("wait", self.wait, at_least=0)
        check_flag("cache_personal", self.cache_personal)
        check_flag("cache_dynamic", self.cache_dynamic)
        check_flag("share_across_credentials", self.share_across_credentials)
        for ttl in (self.ttl, *self.ttl_by.values()):
            if ttl is not None:  # seconds; 0 stores nothing
                number("ttl", ttl, at_least=0)

    def _check_collections(self) -> None:
        functions = "functions of a Request, such as (lambda request: request.attribution.endpoint == '/me',)"
        check_kind("never_cache", self.never_cache, (tuple, list), functions)
        check_kind("ttl_by", self.ttl_by, Mapping, 'by tag and value, such as {"endpoint=/news": 60}')
        check_kind("by_endpoint", self.by_endpoint, Mapping, 'by endpoint, such as {"/news": CachePolicy(ttl=60)}')
        for predicate in self.never_cache:
            if not callable(predicate):
                raise ConfigurationError(f"never_cache= are functions of a Request, not {shown(predicate)}")
        for tag in self.ttl_by:
            name, equals, _ = tag.partition("=")
            if not equals:
                raise ConfigurationError(f'ttl_by= is by tag and value, such as {{"endpoint=/news": 60}}, not {tag!r}')
            check_choice("ttl_by", name, TAG_NAMES)
        for own in self.by_endpoint.values():
            check_kind("by_endpoint", own, CachePolicy, 'by endpoint, such as {"/news": CachePolicy(ttl=60)}')

    @classmethod
    def of(cls, policy: CachePolicy | None, ttl: float | None) -> CachePolicy:
        """The policy that a cache was given, or the default one; a ``ttl`` given beside it wins."""
        check_kind("policy", policy, (CachePolicy, NoneType), "a CachePolicy, such as CachePolicy(ttl=3600)")
        made = policy or cls()
        return made if ttl is None else replace(made, ttl=ttl)

    def key(self, request: Request) -> CacheKey | Uncacheable:
        """The key of a request, or why it has none."""
        if self.by_endpoint and (own := self.by_endpoint.get(request.attribution.endpoint or "")) is not None:
            return own.key(request)
        control = current_control()
        if (reason := self.declines(request, control)) is not None:
            return Uncacheable(reason)
        tags = tags_of(request.attribution, model=request.model)
        return CacheKey(
            digest=scoped_digest(request.digest, self.readers(request)),
            model=request.model,
            tags=tags,
            choices=request.choices,
            ttl=control.ttl if control.ttl is not None else self._ttl(tags) if self.ttl_by else self.ttl,
            lookup=not control.refresh,
        )

    def readers(self, request: Request) -> tuple[tuple[str, str | None], ...]:
        """The partition of the cache that this request reads and writes."""
        if self.by_endpoint and (own := self.by_endpoint.get(request.attribution.endpoint or "")) is not None:
            return own.readers(request)
        private = request.unread and not self.cache_personal
        readers, who = [], request.attribution
        for name in in_order((*self.scope, "user") if private else self.scope):
            readers.append((name, getattr(who, name)))
        if request.caller and not self.share_across_credentials:
            readers.append(("caller", request.caller))
        return tuple(readers)

    def declines(self, request: Request, control: CacheControl = CacheControl()) -> str | None:  # noqa: B008
        """Why this request must not use the cache; ``None`` if it may."""
        if control.no_cache:
            return "no_cache"
        if self.max_temperature is not None and (request.temperature or 0) > self.max_temperature:
            return f"temperature above {self.max_temperature}"
        if request.choices > self.max_choices:
            return f"more than {self.max_choices} choices"
        if request.live_tools and not self.cache_dynamic:
            return "hosted tools fetch live data"
        if request.dynamic and not self.cache_dynamic:
            return "the answer depends on the time"
        unknown = request.attribution.user is None
        if request.personal and not self.cache_personal and (unknown or "user" not in self.scope):
            return "a personal question, and the scope does not include the user"
        if request.unread and not self.cache_personal and unknown:
            return "a language that the rules do not read, and no user is known"
        for predicate in self.never_cache:
            if predicate(request):
                return f"never_cache: {getattr(predicate, '__name__', type(predicate).__name__)}"
        return None

    def rejects(self, answer: Answer, *, choices: int, size: int) -> str | None:
        """Why this answer must not be stored; ``None`` if it may. ``size`` is bytes."""
        if answer.choices < choices:
            return "fewer answers than choices"
        for reason in answer.finish:
            if reason.lower() in INCOMPLETE:
                return "the answer is not complete"
        if answer.refused:
            return "a refusal"
        if answer.empty:
            return "an empty answer"
        if not self.min_bytes <= size <= self.max_bytes:
            return f"{size} bytes is outside {self.min_bytes}..{self.max_bytes}"
        return None

    def _ttl(self, tags: Iterable[str]) -> float | None:
        found = [self.ttl_by[tag] for tag in tags if tag in self.ttl_by]
        return min(found) if found else self.ttl


# In a long prompt (a document with a question) words like "today" belong to the document; the question is at an end.
_HEAD, _TAIL = 300, 300  # characters
# How many questions (of at most that length) are remembered, because reading one takes longer than a hit. A choice: at
# most some 5 MB.
_MAX_REMEMBERED = 4096
_PACKAGE = "costguard_core.cache.language"


class Classification(NamedTuple):
    """What the words of a question say about its answer.

    Attributes:
        dynamic: it changes with time.
        personal: it belongs to who asks.
        unread: the language is not one that the rules read, so the answer may be either.
    """

    dynamic: bool = False
    personal: bool = False
    unread: bool = False


def classify(question: str) -> Classification:
    """Whether the answer to a question changes with time or belongs to who asks."""
    if len(question) > _HEAD + _TAIL:
        question = f"{question[:_HEAD]}\n{question[-_TAIL:]}"
    return _classified(question)


@lru_cache(_MAX_REMEMBERED)
def _classified(text: str) -> Classification:
    text = _NO_APOSTROPHE.sub(lambda word: "'".join(filter(None, word.groups())), text.replace("’", "'"))
    if not text.strip():
        return Classification()
    found = _by_rules(text)
    if any(found):
        return found
    if is_english(text):
        for word in _LOWER_CASE.findall(text):  # nearly always all are right: calling a function for each takes longer
            if corrected(word) != word:
                return _by_rules(_LOWER_CASE.sub(lambda wrong: corrected(wrong[0]), text))
        return found
    language = language_of(text)
    # One word in plain letters may be anything, and asks nothing.
    known = language is not None or len(text.split()) > 1 or not text.isascii()
    return Classification(unread=known and not _is_general(text, language))


def _by_rules(text: str) -> Classification:
    """What the English rules say, which leave ``unread`` to others."""
    rules = _patterns()
    dynamic = rules["dynamic"].search(text) is not None
    personal = bool(
        _IDENTIFIER.search(text)
        or rules["own"].search(text)
        or (
            not rules["what_to_do"].search(text)
            and (rules["state"].search(text) or (_POSSESSIVE.search(text) and not rules["how_to"].search(text)))
        )
    )
    return Classification(dynamic, personal)


def is_dynamic(question: str) -> bool:
    """True when the answer changes with time: "now", "today's …", "latest …", "weather in …", "is … down?"."""
    return classify(question).dynamic


def is_personal(question: str) -> bool:
    """True when the answer belongs to who asks: "my order", "the parcel I sent", "order 1182", an e-mail address."""
    return classify(question).personal


# English

_NO_APOSTROPHE = re.compile(  # "whats", "hasnt", "im"
    r"\b(?:(what|who|where|when|how)(s)|(can|don|didn|doesn|isn|wasn|hasn|haven|couldn|aren|won)(t)|(i)(m|ve))\b",
    re.IGNORECASE,
)
_LOWER_CASE = re.compile(r"\b[a-z]{4,}\b")  # a capital may be a name's
_IDENTIFIER = re.compile(
    r"""
    [\w.+-]+@[\w-]+\.\w{2,}
  | \b(?:order|invoice|ticket|case|booking|tracking|policy|customer|account|member|reference|ref|claim|parcel|shipment
      |confirmation|reservation|transaction|contract|user|patient|employee|request|incident|flight|pr|mr|issue|bug)
    (?:\s*(?:number|num|no\.?|nr\.?|id|code|\#))?\s*(?:is|:|=)?\s*\#?\s*[a-z]{0,6}[-_/]?\d{3,}
  | (?<![\w.])\+\d[\d\s().-]{7,}\d
  | (?<!\w)\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}\b
  | \b\d{3}-\d{2}-\d{4}\b
  | \b(?:\d{4}[\s-]){3}\d{1,7}\b
  | \b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){3,7}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_POSSESSIVE = re.compile(
    r"\b(?:my|mine|our|ours|myself)\b(?!\s+(?:favou?rite|question|query|guess|example)\b)", re.IGNORECASE
)
_MACRO = re.compile(r"<(\w+)>")
_MACROS = {
    "unless": "".join(rf"(?<!\b{word}\s)" for word in "if when whether after once before unless until".split()),
    "dated": r"\b(?:1\d{3}|20[01]\d|202[0-4]|first|\d+(?:st|nd|rd|th))\b",
}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """The English rules by name: ``dynamic``, ``own``, ``state``, ``how_to`` and ``what_to_do``."""
    found: dict[str, list[str]] = {}
    for line in word_lists.lines(_PACKAGE, "en/question_patterns.txt"):
        name, _, pattern = line.partition(": ")
        spaced = pattern.replace(" ", r"\s+").replace(r"[.,;:!?]\s+)", r"[.,;:!?]\s)")
        found.setdefault(name, []).append(rf"\b(?:{_MACRO.sub(_expanded, spaced)})(?!\w)")
    return {name: re.compile("|".join(patterns), re.IGNORECASE) for name, patterns in found.items()}


def _expanded(macro: re.Match[str]) -> str:
    name = macro.group(1)
    if name in _MACROS:
        return _MACROS[name]
    words = word_lists.table(_PACKAGE, "en/questions.txt")[name]
    return "(?:" + "|".join(re.escape(word).replace("_", r"\s+") for word in words) + ")"


# Other languages


@cache
def _general() -> dict[str, re.Pattern[str]]:
    """By language: how something is done, how long it takes, what it costs, what it is."""
    table = word_lists.table(_PACKAGE, "general_questions.txt")
    return {
        language: re.compile("|".join(_phrase(item) for item in items), re.IGNORECASE)
        for language, items in table.items()
    }


@cache
def _specific() -> dict[str, re.Pattern[str]]:
    """By language: words that make the answer one of who asks, or of now."""
    table = word_lists.table(_PACKAGE, "specific_words.txt")
    return {
        language: re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
        for language, words in table.items()
    }


def _phrase(item: str) -> str:
    return r"^\W*" + item.replace("_", r"\s+").replace("*", r"[^\W\d]+") + r"\b"


def _is_general(text: str, language: str | None) -> bool:
    if language not in _general() or _general()[language].search(text) is None:
        return False
    return _specific()[language].search(text) is None
