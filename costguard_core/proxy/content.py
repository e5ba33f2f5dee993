"""What a request to the proxy asks, as caches, keys and counts see it: by the functions that both adapters use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from costguard_core.cache.keys import CacheKey, NotCanonical, Uncacheable, canonical, digest, dump
from costguard_core.cache.parameters import answering
from costguard_core.cache.policy import CachePolicy, Request
from costguard_core.cache.provider_tools import is_live_tool
from costguard_core.cache.request import Arguments, cache_request
from costguard_core.cache.secrets import identified, is_secret, one_way
from costguard_core.cache.semantic.query import Message, Role, fills_one_schema, is_from_agent, only_text
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.settings import Upstream
from costguard_core.proxy.upstream import Headers, is_credential, is_sent
from costguard_core.usage.parameters import Known, wants_form
from costguard_core.usage.token_counter import ReadPrompt
from costguard_core.wire.base import Prompt, WireFormat
from costguard_core.wire.reading import is_of_tools, read_prompt

# Fields that say how an answer is sent and where it is worked out, and change none.
_HOW_SENT = frozenset(("stream", "stream_options", "inference_geo"))
# Fields that make the provider continue, keep or look into something of its own.
_SERVER_SIDE = ("previous_response_id", "conversation", "container", "background", "context_management")
# Headers that say how an answer is to be sent. Any other that reaches the provider may change it.
_TRANSPORT = frozenset(
    "accept accept-language content-type user-agent origin referer cache-control pragma priority dnt".split()
)
_LISTS = ("tools", "functions")
_ROLES: Mapping[str, Role] = {"system": "instructions", "developer": "instructions", "user": "user"}


@dataclass(frozen=True)
class WireContent:
    """One request in a wire format.

    Attributes:
        form: its format.
        body: as JSON, with the name of the model that is asked of the upstream.
        upstream: where it is sent.
        caller: who asks.
        headers: of the request.
        query: of its URL.
        attributing: names of headers that only say who asks.
    """

    form: WireFormat
    body: Mapping[str, Any]
    upstream: Upstream
    caller: Caller
    headers: Headers = field(default_factory=list)
    query: str = ""
    attributing: frozenset[str] = frozenset()

    @property
    def known(self) -> Known:
        """The model, and who runs it."""
        return Known(str(self.body["model"]), self.upstream.provider)

    @cached_property
    def prompt(self) -> Prompt:
        """The messages."""
        return self.form.prompt(self.body)

    @cached_property
    def read(self) -> ReadPrompt:
        """The messages as they are counted."""
        return read_prompt(self.prompt)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What the request says beside its messages."""
        return self.form.parameters(self.body)

    @property
    def wants_form(self) -> bool:
        """Whether a text is no answer, because an object or a tool call is wanted."""
        return self.form.kind == "embedding" or wants_form(self.parameters)

    @property
    def may_repeat(self) -> bool:
        """Whether asking the same once more does and changes nothing at the provider, and is not billed to a client
        whose key it would need."""
        if self.upstream.key is None and any(is_credential(name) for name, _ in self.headers):
            return False
        tools = [tool for name in _LISTS for tool in self.parameters.get(name) or ()]
        return not any(self.body.get(name) for name in _SERVER_SIDE) and not any(map(is_live_tool, tools))

    def again(self, model: str, upstream: Upstream, caller: Caller) -> WireContent:
        """The same question for another model, on the bill of ``caller``."""
        body = {name: value for name, value in self.body.items() if name not in ("stream", "stream_options")}
        headers = [(name, value) for name, value in self.headers if not is_credential(name)]
        return replace(self, body={**body, "model": model}, upstream=upstream, caller=caller, headers=headers)

    def key(self, policy: CachePolicy) -> CacheKey | Uncacheable:
        """The exact key of the request, or why it has none."""
        try:
            return policy.key(self.request())
        except NotCanonical as error:
            return Uncacheable(str(error))

    def request(self, question: str | None = None) -> Request:
        """The request as the cache policy asks about it; its digest with ``question`` in place of its own, if given.

        Raises:
            NotCanonical: a part of it is in no key.
        """
        body = self.body if question is None else self.form.with_question(self.body, question)
        if any(body.get(name) for name in _SERVER_SIDE) or isinstance(body.get("prompt"), Mapping):
            raise NotCanonical("what the provider continues or keeps")
        call = answering({name: value for name, value in body.items() if name not in _HOW_SENT})
        if any(not isinstance(call.get(name) or [], list) for name in _LISTS):
            raise NotCanonical("tools that are no list")
        arguments = Arguments.of(call)
        headers = self._answering_headers()
        parts = (
            self.form.path,
            self.upstream.url,
            self.query,
            canonical([one for one in headers if not is_secret(one[0])]),
            canonical(arguments.rest),
            dump(sorted(map(canonical, arguments.tools))),
            canonical(arguments.schema),
        )
        made = cache_request(
            digest(*parts),
            arguments,
            self.prompt.question,
            self.caller.attribution,
            model=str(body["model"]),
            settings={},
            live=False,
            caller=self._signed_in([one for one in headers if is_secret(one[0])]),
        )
        return made._replace(choices=self.form.choices(self.body))

    def _signed_in(self, secret: list[tuple[str, object]]) -> str:
        """Who signs in: by a key of the proxy or of the provider, and by headers that the proxy does not know."""
        return one_way(canonical([self.caller.reader, secret])) if secret else self.caller.reader

    def _answering_headers(self) -> list[tuple[str, Any]]:
        aside = _TRANSPORT | self.attributing
        kept = [(n, v) for n, v in self.headers if is_sent(n) and n not in aside and not is_credential(n)]
        return sorted((name, one) for n, v in kept for name, one in identified({n: v}).items())


@dataclass(frozen=True)
class SemanticWireRequest:
    """A request as the semantic cache splits it, from the same parts as its exact key.

    Attributes:
        content: the request.
        policy: of the cache.
    """

    content: WireContent
    policy: CachePolicy

    known_question = None  # nobody tells what a template was filled with

    @property
    def messages(self) -> Sequence[Message]:
        return [_message(said) for said in self.content.prompt.messages]

    @property
    def fills_schema(self) -> bool:
        return fills_one_schema(self.content.parameters)

    @property
    def objection(self) -> str | None:
        return "embeddings have no wording" if self.content.form.kind == "embedding" else None

    def key(self) -> CacheKey | Uncacheable:
        return self.content.key(self.policy)

    def scope_parts(self, last_text: str) -> tuple[str, str]:
        around = self.content.request(last_text)
        # Who may read it is decided by the question, which is not in `around` any more.
        return around.digest, canonical(self.policy.readers(self.content.request()))


def _message(said: Any) -> Message:
    text = only_text(said.content) if isinstance(said.content, (str, list)) else None
    from_agent = is_of_tools(said) or (text is not None and is_from_agent(text))
    return Message(_ROLES.get(said.role, "other"), text, from_agent)
