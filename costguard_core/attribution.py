"""Who and what a call is for: a context variable that application code sets around its work."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache

from costguard_core.errors import ConfigurationError
from costguard_core.types import ATTRIBUTE_NAMES, MOST_TAGS, Attribution, attributed
from costguard_core.util.options import check_kind, shown

_log = logging.getLogger(__name__)

Value = str | int | None

# The names that LangChain and LangGraph users already put into `config["metadata"]`, and LlamaIndex users into
# `instrument_tags`. The first one that is given wins.
_SPELLINGS: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "user"),
    "tenant": ("tenant", "tenant_id"),
    "session": ("session_id", "session", "thread_id", "conversation_id"),
    "endpoint": ("endpoint",),
    "feature": ("feature",),
    "template": ("template", "prompt_name"),
}
KNOWN_NAMES = frozenset(name for names in _SPELLINGS.values() for name in names)

# Names that mean something else in budgets and reports.
_RESERVED = frozenset(
    "model provider tier kind outcome reason route priced_by price_source requested_model answered_model request_id "
    "host account documents tags id time cost saved latency fingerprint estimated usd request requests token tokens "
    "input output call minute hour day week month year total".split()
)
_TAG_NAME = re.compile(r"[^\W\d][\w.-]{0,63}")
_NEARLY = 0.8  # similarity from which a name is taken for a misspelt one: "usr" is one, "team" and "planet" are not
_NEARLY_KNOWN = 0.85  # the same for a framework's metadata, where others put names of their own


class _Block:
    """One ``attribute(...)`` block: what is attributed inside of it, and the block around it.

    ``ended`` is set where a block ends in another context than the one it began in, as in a generator that different
    threads or tasks read: the context in which it began cannot be reset from there, but reads that it is over.
    """

    __slots__ = ("attribution", "ended", "parent")

    def __init__(self, attribution: Attribution, parent: _Block | None) -> None:
        self.attribution = attribution
        self.parent = parent
        self.ended = False


_NOBODY = _Block(Attribution(), None)
_current: ContextVar[_Block] = ContextVar("costguard_attribution", default=_NOBODY)


@contextmanager
def attribute(
    *,
    user: Value = None,
    tenant: Value = None,
    session: Value = None,
    endpoint: Value = None,
    feature: Value = None,
    template: Value = None,
    documents: Iterable[str] = (),
    **tags: Value,
) -> Iterator[Attribution]:
    """Attribute every call inside the ``with`` block. Blocks nest: what is not given, or empty, is inherited.

    Works across ``await`` and in threads started with a copied context (LangChain's ``batch`` does that); a raw
    ``threading.Thread`` starts without it. In a generator, the block is in force wherever the generator is read from
    until it ends, also for the code that reads it.

    Args:
        user, tenant, session, endpoint, feature, template: see :class:`Attribution`.
        documents: names what the answers are based on, so that ``cache.invalidate(document=...)`` can find them.
        tags: any other name is a tag, by which reports can be made and budgets can count: ``plan="free"``.

    Raises:
        ConfigurationError: more than 16 tags, or a name that cannot be one (it means something else, or is nearly one
            of the names above).
    """
    for name in tags:
        if name not in KNOWN_NAMES:
            check_tag_name(name)
    fields = {"user": user, "tenant": tenant, "session": session, "endpoint": endpoint, "feature": feature}
    given = {**tags, **fields, "template": template}
    for name, value in given.items():
        if isinstance(value, (bytes, Collection)) and not isinstance(value, str):
            raise ConfigurationError(f"{name}= is one text or number, not {shown(value)}")
    found = _merged(_innermost().attribution, given, tags)
    if len(found.tags) > MOST_TAGS:
        listed = ", ".join(name for name, _ in found.tags)
        raise ConfigurationError(f"a call has at most {MOST_TAGS} tags, not {len(found.tags)}: {listed}")
    names = (documents,) if isinstance(documents, str) else tuple(map(str, documents))
    with use_attribution(replace(found, documents=names) if names else found) as attribution:
        yield attribution


@contextmanager
def use_attribution(attribution: Attribution) -> Iterator[Attribution]:
    """Put ``attribution``, as it is, in force inside the ``with`` block: in the name of whoever asked earlier."""
    block = _Block(attribution, _innermost())
    token = _current.set(block)
    try:
        yield attribution
    finally:
        _end(block, token)


def _end(block: _Block, token: Token[_Block]) -> None:
    if _current.get() is block:
        with suppress(ValueError):  # this is a copy of the context in which it began
            _current.reset(token)
            return
    block.ended = True


def current_attribution(metadata: Mapping[str, object] | None = None, tags: Collection[str] = ()) -> Attribution:
    """The attribution in force. ``metadata`` of the call itself is nearer than the block, so what it gives wins.

    ``tags`` are the names in ``metadata`` that are tags: a framework puts names of its own there, which are not. No
    call fails because of its tags: of more than 16, those are kept that ``tags`` names, by which budgets count.
    """
    block = _current.get()
    around = _innermost().attribution if block.ended else block.attribution
    if metadata and not _seen_names.issuperset(metadata):
        _look_for_typos(metadata, tags)
    if not metadata or (KNOWN_NAMES.isdisjoint(metadata) and not (tags and not metadata.keys().isdisjoint(tags))):
        return around
    found = _merged(around, metadata, tags)
    return found if len(found.tags) <= MOST_TAGS else _with_fewer_tags(found, tags)


def _with_fewer_tags(found: Attribution, named: Collection[str]) -> Attribution:
    """With at most 16 tags, those first that are named; a warning, once, says which are left out."""
    ordered = sorted(found.tags, key=lambda tag: (tag[0] not in named, tag[0]))
    left_out = tuple(name for name, _ in ordered[MOST_TAGS:])
    if left_out not in _left_out and len(_left_out) < _MOST_SEEN:
        _left_out.add(left_out)
        _log.warning("a call has at most %d tags: %s are left out", MOST_TAGS, ", ".join(left_out))
    return replace(found, tags=tuple(sorted(ordered[:MOST_TAGS])))


_left_out: set[tuple[str, ...]] = set()


_seen_names: set[object] = set()  # of metadata: each is looked at once
_LONGEST_NAME = 64  # characters of a name that is compared: as long as a tag's
_MOST_SEEN = 1_000  # from then on nobody looks: names that are made up at run time are no typing mistakes


def _look_for_typos(metadata: Mapping[str, object], tags: Collection[str]) -> None:
    """Warn, once, of a name that nobody reads and that nearly is one that is read, such as ``userid``."""
    if len(_seen_names) >= _MOST_SEEN:
        return
    new: Iterable[object] = metadata.keys() - _seen_names - KNOWN_NAMES  # anybody's, and not always text
    for name in new:
        if not isinstance(name, str) or name in tags or len(name) > _LONGEST_NAME:
            continue
        near = get_close_matches(name.lower(), KNOWN_NAMES, n=1, cutoff=_NEARLY_KNOWN)
        if near:
            _log.warning("metadata %r is not read: did you mean %r? tags=(…) of CostGuard declares tags", name, near[0])
    _seen_names.update(metadata)


@lru_cache(256)
def check_tag_name(name: str) -> str:
    """``name`` if calls can be tagged with it.

    Raises:
        ConfigurationError: it means something else, or is nearly the name of something else.
    """
    if name.lower() in _RESERVED or not _TAG_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a tag: a tag is a name of at most 64 letters, digits, '_', '-' and '.' that means "
            'nothing else, such as team="search" or plan="free"'
        )
    near = get_close_matches(name.lower(), ATTRIBUTE_NAMES, n=1, cutoff=_NEARLY)
    near = near or get_close_matches(name.lower(), ("model", "provider"), n=1, cutoff=0.9)  # "mode" is a good tag
    if not near:  # letters swapped, as in "mdoel"
        near = [known for known in ("model", "provider") if sorted(known) == sorted(name.lower())]
    if near and abs(len(near[0]) - len(name)) <= 1:
        raise ConfigurationError(f"{name!r} is not a tag: did you mean {near[0]!r}?")
    return name


def declared_tags(names: Iterable[str]) -> tuple[str, ...]:
    """The names that are declared as tags, without those that are taken anyway, such as ``user``.

    Raises:
        ConfigurationError: more than 16, or one that cannot be a tag.
    """
    check_kind("tags", names, (str, Collection), 'names such as ("plan", "team")')
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if not isinstance(name, str):
            raise ConfigurationError(f'tags= are names, such as ("plan", "team"), not {name!r}')
    found = tuple(dict.fromkeys(check_tag_name(name) for name in listed if name not in KNOWN_NAMES))
    if len(found) > MOST_TAGS:
        raise ConfigurationError(f"a call has at most {MOST_TAGS} tags; tags= declares {len(found)}")
    return found


def _innermost() -> _Block:
    """The innermost block of this context that has not ended."""
    block = _current.get()
    while block.ended and block.parent is not None:
        block = block.parent
    return block


def _merged(around: Attribution, given: Mapping[str, object], tags: Collection[str]) -> Attribution:
    """``around``, with what ``given`` says instead; ``tags`` are the names in it that are tags."""
    found: dict[str, str] = {}
    for field, spellings in _SPELLINGS.items():
        for name in spellings:
            value = given.get(name)
            if value is not None and value != "":
                found[field] = _text(value)
                break
    tagged = (name for name in tags if name not in KNOWN_NAMES and given.get(name) is not None)
    named = {name: attributed(_text(given[name])) for name in tagged}
    together = {**dict(around.tags), **{name: value for name, value in named.items() if value}}
    return Attribution(
        user=found.get("user", around.user),
        tenant=found.get("tenant", around.tenant),
        session=found.get("session", around.session),
        endpoint=found.get("endpoint", around.endpoint),
        feature=found.get("feature", around.feature),
        template=found.get("template", around.template),
        documents=around.documents,
        tags=tuple(sorted(together.items())) if named else around.tags,
    )


def _text(value: object) -> str:
    """A value that somebody gave as text: of an object that has none, its class."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
