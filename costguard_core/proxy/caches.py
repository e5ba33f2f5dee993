"""The caches of a proxy: the exact one, and the semantic one where the policy file asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from costguard_core.cache.answer import CachedAnswer
from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.cache.keys import Uncacheable
from costguard_core.cache.layers import CacheLayer, ExactLayer, SemanticLayer
from costguard_core.cache.semantic.cache import BaseSemanticCache
from costguard_core.cache.semantic.comparator.judge import JudgeComparator
from costguard_core.cache.semantic.hit import SemanticHit
from costguard_core.cache.semantic.verifier import REPLY_TOKENS, Ask
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.content import SemanticWireRequest, WireContent
from costguard_core.proxy.feedback import AnswerNames
from costguard_core.proxy.settings import ProxySettings
from costguard_core.wire import form_of

_JUDGE_TOKENS = 5  # of the reply of a judge, which is one word


class Models(Protocol):
    """Models of the policy file, as the caches ask them."""

    def check(self, model: str, what: str) -> str:
        """The model behind a name; an error if there is none."""
        ...

    def ask(self, model: str, instructions: str, text: str, *, max_tokens: int) -> str:
        """The text of a reply."""
        ...


class AskedModel(NamedTuple):
    """A model that verifies or judges."""

    name: str
    models: Models
    max_tokens: int

    def ask(self, instructions: str, text: str) -> str:
        """The text of its reply."""
        return self.models.ask(self.name, instructions, text, max_tokens=self.max_tokens)


class _NoEmbedder:
    """Where an adapter asks its framework's embeddings."""

    def __init__(self, embeddings: object) -> None:
        raise ConfigurationError('embeddings is "wordllama" or "minilm": they run in the proxy and cost nothing')


class WireSemanticCache(BaseSemanticCache[str]):
    """Answers to the same question in other words, kept as the provider sent them."""

    mark_field, embedder_class = "headers", _NoEmbedder

    def layers_for(self, content: WireContent) -> list[CacheLayer]:
        """This cache for one request; nothing if it leaves the request alone."""
        query = self._query(lambda: SemanticWireRequest(content, self.policy))
        return [] if query is None else [SemanticLayer(self, query)]

    def _asker(self, model: object, guard: CostGuard | None) -> Ask | None:
        return model.ask if isinstance(model, AskedModel) else None

    def _text_of(self, payload: Any) -> str:
        form = form_of(payload)
        return "" if form is None else form.text(payload)

    def _is_action(self, payload: Any) -> bool:
        form = form_of(payload)
        return form is None or bool(form.called_tools(payload))


class Caches(NamedTuple):
    """What may answer instead of a provider, in the order to be asked.

    Attributes:
        exact: identical requests; ``None``: there is none.
        semantic: the same question in other words; ``None``: there is none.
        names: of hits, for feedback.
    """

    exact: BaseExactCache | None = None
    semantic: WireSemanticCache | None = None
    names: AnswerNames | None = None

    def layers(self, content: WireContent) -> Sequence[CacheLayer]:
        """The caches that may answer a request."""
        found: list[CacheLayer] = []
        if self.exact is not None:
            key = content.key(self.exact.policy)
            if isinstance(key, Uncacheable):
                self.exact.engine.decline(key.reason)
            else:
                found.append(ExactLayer(self.exact.engine, key))
        return found if self.semantic is None else [*found, *self.semantic.layers_for(content)]

    def marks_of(self, hit: CachedAnswer | SemanticHit, caller: Caller) -> dict[str, Any]:
        """What ``caller`` is told of a hit."""
        marks = dict(hit.marks)
        if isinstance(hit, SemanticHit) and self.names is not None:
            marks["hit"] = self.names.seal(hit, caller)
        return marks

    def judge(self, hit: str, caller: Caller, *, right: bool, everywhere: bool) -> bool:
        """Note what ``caller`` says of a hit, by the name that it was told; whether it got such a hit."""
        known = None if self.names is None else self.names.open(hit, caller)
        if known is None or self.semantic is None:
            return False
        if right:  # a process that did not serve it does not know what the questions look like, and learns nothing
            self.semantic.confirm(known.name)
            return True
        engine = self.semantic.engine
        return engine.feedback.refute(known.name, everywhere=everywhere) or engine.feedback.refute_pair(
            known.pair, everywhere=everywhere
        )

    def close(self) -> None:
        """Let go of the index."""
        if self.semantic is not None:
            self.semantic.close()


def open_caches(settings: ProxySettings, guard: CostGuard, models: Models, names: AnswerNames) -> Caches:
    """The caches that the settings ask for, under the guard's cache policy. ``models`` are those that may verify, and
    ``names`` are given to hits.

    Raises:
        ConfigurationError: a URL or an option that cannot be used, or a model that no upstream serves.
        MissingExtraError: the package behind the index or the embeddings is not installed.
    """
    policy, url, options = guard.cache_policy, settings.cache, settings.semantic
    exact = None if url is None else BaseExactCache(url, policy=policy, guard=guard)
    if options is None:
        return Caches(exact)
    given = dict(options)
    embeddings, judge = given.pop("embeddings", "wordllama"), given.pop("judge", None)
    if "verify" in given:
        model = models.check(given["verify"], "[proxy.semantic] verify")
        given["verify"] = AskedModel(model, models, REPLY_TOKENS)
    if judge is not None:
        asked = AskedModel(models.check(judge, "[proxy.semantic] judge"), models, _JUDGE_TOKENS)
        given["compare"] = JudgeComparator(asked.ask)
    return Caches(exact, WireSemanticCache(embeddings, policy=policy, guard=guard, **given), names)
