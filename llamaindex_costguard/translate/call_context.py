"""Who asks, and what LlamaIndex knows of where a call was asked for."""

from __future__ import annotations

from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation.dispatcher import active_instrument_tags

from costguard_core import Attribution
from costguard_core.attribution import current_attribution
from costguard_core.lifecycle.nesting import CallScope


class Scope(CallScope):
    """A call, the events of which carry the tags and the parent of where it was asked for."""

    __slots__ = ()
    carried = (active_instrument_tags, active_span_id)


def who_asks() -> Attribution:
    """``attribute(...)`` and LlamaIndex's ``instrument_tags``, of which the tags are nearer."""
    return current_attribution(active_instrument_tags.get())
