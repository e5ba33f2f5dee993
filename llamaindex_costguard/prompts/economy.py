"""Prompt economy for LlamaIndex: an LLM whose messages go through it, and a filter of retrieved nodes.

The steps are those of :mod:`costguard_core.prompts.economy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from secrets import token_hex
from typing import Annotated, Any, TypeVar

from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, TextBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import BeforeValidator

from costguard_core.lifecycle import same_class
from costguard_core.prompts.compression import checked_keep, relevant
from costguard_core.prompts.economy import EconomySteps, PromptMessages, count_tokens
from costguard_core.routing import Message
from costguard_core.util.options import names_options
from llamaindex_costguard.router.router import TieredRouter
from llamaindex_costguard.router.translate import role_of
from llamaindex_costguard.translate.keys import who_asks
from llamaindex_costguard.translate.messages import message_text
from llamaindex_costguard.translate.validation import checked_llm

L = TypeVar("L", bound=LLM)
_SETTING = "_costguard_economy"
_METADATA = "costguard"  # under which a node says what was dropped


class LlamaIndexMessages(PromptMessages[ChatMessage]):
    """LlamaIndex's messages."""

    def plain(self, message: ChatMessage) -> Message:
        return Message(role_of(message), message_text(message))

    def text(self, message: ChatMessage) -> str | None:
        blocks = message.blocks
        return blocks[0].text if len(blocks) == 1 and isinstance(blocks[0], TextBlock) else None

    def with_text(self, message: ChatMessage, text: str) -> ChatMessage:
        return message.model_copy(update={"blocks": [TextBlock(text=text)]})

    def has_cache_mark(self, message: ChatMessage) -> bool:
        marked = any(isinstance(block, CachePoint) for block in message.blocks)
        return marked or "cache_control" in message.additional_kwargs

    def with_cache_mark(self, message: ChatMessage, control: Mapping[str, str]) -> ChatMessage:
        last = message.blocks[-1] if message.blocks else None
        if not isinstance(last, TextBlock) or not last.text:
            return message
        mark = CachePoint(cache_control=CacheControl(**control))
        return message.model_copy(update={"blocks": [*message.blocks, mark]})


MESSAGES = LlamaIndexMessages()


class PromptEconomy(EconomySteps[ChatMessage]):
    """Makes the messages that an LLM is sent fewer or cheaper: ``llm = PromptEconomy(max_tokens=8000).wrap(llm)``.

    Its options are those of :class:`costguard_core.prompts.economy.EconomySteps`. ``cache_marks`` are for Anthropic's
    integration, which sends the system prompt as one text: only the mark before the question arrives, and it covers
    that as well.
    """

    messages = MESSAGES

    @cached_property
    def name(self) -> str:
        """Unique: under it a pickled LLM finds its economy again."""
        return token_hex(8)

    def __deepcopy__(self, memo: dict[int, object]) -> PromptEconomy:
        return self

    def wrap(self, llm: L) -> L:
        """``llm``, of its own class, with every list of messages applied first: those of engines and agents too.

        Guard an LLM before it is wrapped, so that what is cached and metered is what is sent. Of a ``TieredRouter``,
        each tier is wrapped. A text for ``complete`` is sent as it is.

        Raises:
            ConfigurationError: it is no LLM.
        """
        checked_llm(llm)
        if isinstance(llm, StructuredLLM):
            return llm.model_copy(update={"llm": self.wrap(llm.llm)})
        if isinstance(llm, TieredRouter):
            return llm.with_models({name: self.wrap(model) for name, model in llm.models.items()})
        return same_class.of_class(llm, _economical(type(llm)), _SETTING, self)


class EconomicalLLM:
    """The methods that take messages; mixed in before the class of an LLM."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return _inner(self).chat(_applied(self, messages), **kwargs)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return await _inner(self).achat(_applied(self, messages), **kwargs)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return _inner(self).stream_chat(_applied(self, messages), **kwargs)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return await _inner(self).astream_chat(_applied(self, messages), **kwargs)

    def __reduce_ex__(self, protocol: object) -> Any:
        economy, inner = self.__dict__[_SETTING], type(self).__mro__[2]  # after the subclass and this mixin
        return _restored, (same_class.of_class(self, inner, _SETTING, None), same_class.recipe(economy.name, economy))


def _inner(llm: object) -> Any:
    """The methods that the LLM had before it was wrapped."""
    return super(EconomicalLLM, llm)


def _applied(llm: object, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    economy: PromptEconomy = llm.__dict__[_SETTING]
    return economy.applied(messages, who_asks().endpoint)


def _restored(llm: LLM, recipe: same_class.Recipe) -> Any:
    def wrapped(inner: LLM, economy: PromptEconomy) -> LLM:
        return economy.wrap(inner)

    return same_class.restored(llm, recipe, PromptEconomy, wrapped, lambda _, economy: economy, EconomicalLLM)


@cache
def _economical(inner: type[LLM]) -> type[LLM]:
    return same_class.subclass(EconomicalLLM, inner)


@names_options
class SentenceFilter(BaseNodePostprocessor):
    """Keeps the sentences of retrieved nodes that share words with the question (BM25); no model is asked.

    Give it to a query engine: ``node_postprocessors=[SentenceFilter(keep=0.5)]``. Each node says what is gone, where no
    model reads it: ``metadata["costguard"] = {"before": …, "after": …, "dropped_sentences": …}`` (tokens). Measured: at
    70 / 50 / 33 % kept, 4 / 11 / 17 % of the words of the right answers are lost.

    Attributes:
        keep: the part (0..1) of each node's tokens to keep.
        count: tokens of a text.
    """

    keep: Annotated[float, BeforeValidator(checked_keep)] = 0.5
    count: Callable[[str], int] | None = None

    @classmethod
    def class_name(cls) -> str:
        return "costguard_sentence_filter"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return nodes if query_bundle is None else [self._filtered(node, query_bundle.query_str) for node in nodes]

    def _filtered(self, scored: NodeWithScore, query: str) -> NodeWithScore:
        node = scored.node
        text = node.get_content(metadata_mode=MetadataMode.NONE)
        saving = relevant(text, query, keep=self.keep, count=self.count or count_tokens)
        filtered = node.model_copy(
            update={
                "metadata": {**node.metadata, _METADATA: saving.as_metadata()},
                "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, _METADATA],
                "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, _METADATA],
            }
        )
        filtered.set_content(saving.value)
        return NodeWithScore(node=filtered, score=scored.score)
