"""What LlamaIndex knows of where a call was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation.dispatcher import active_instrument_tags

from costguard_core.lifecycle.nesting import CallScope


@dataclass(slots=True, eq=False)
class Scope(CallScope):
    """A call, the events of which carry the ``tags`` and the parent ``span`` of where it was asked for."""

    carried = MappingProxyType({"tags": active_instrument_tags, "span": active_span_id})
    tags: Any = field(default_factory=active_instrument_tags.get)
    span: Any = field(default_factory=active_span_id.get)
