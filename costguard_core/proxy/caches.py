"""The caches of a proxy: the exact one, and the semantic one where the policy file asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.cache.keys import Uncacheable
from costguard_core.cache.layers import CacheLayer, ExactLayer, SemanticLayer
from costguard_core.cache.semantic.cache import BaseSemanticCache
from costguard_core.cache.semantic.question_vectors import QuestionEmbedder
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.proxy.content import SemanticWireRequest, WireContent
from costguard_core.proxy.settings import ProxySettings
from costguard_core.wire import form_of


class WireSemanticCache(BaseSemanticCache[str]):
    """Answers to the same question in other words, kept as the provider sent them."""

    mark_field = "headers"

    def layers_for(self, content: WireContent) -> list[CacheLayer]:
        """This cache for one request; nothing if it leaves the request alone."""
        query = self._query(lambda: SemanticWireRequest(content, self.policy))
        return [] if query is None else [SemanticLayer(self, query)]

    def _embedder(self, embeddings: str) -> QuestionEmbedder:
        raise ConfigurationError('embeddings is "wordllama" or "minilm": they run in the proxy and cost nothing')

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
    """

    exact: BaseExactCache | None = None
    semantic: WireSemanticCache | None = None

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

    def close(self) -> None:
        """Let go of the index."""
        if self.semantic is not None:
            self.semantic.close()


def open_caches(settings: ProxySettings, guard: CostGuard) -> Caches:
    """The caches that the settings ask for, under the guard's cache policy.

    Raises:
        ConfigurationError: a URL or an option that cannot be used.
        MissingExtraError: the package behind the index or the embeddings is not installed.
    """
    policy, url, options = guard.cache_policy, settings.cache, settings.semantic
    exact = None if url is None else BaseExactCache(url, policy=policy, guard=guard)
    if options is None:
        return Caches(exact)
    given = dict(options)
    embeddings = given.pop("embeddings", "wordllama")
    return Caches(exact, WireSemanticCache(embeddings, policy=policy, guard=guard, **given))
