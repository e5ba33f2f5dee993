"""A chat request as rows, one for each message: the kind of the message, what it says, and what else changes an answer.

Rows hold plain JSON data in one spelling, so that a request has the same key whichever way it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from costguard_core.cache.arguments import NO_ARGUMENTS, Arguments, cache_request
from costguard_core.cache.identity import Identity
from costguard_core.cache.keys import Describe, canonical, digest, dump, nothing_else
from costguard_core.cache.policy import Request
from costguard_core.types import Attribution

Row = Sequence[Any]

_PERSONS = ("human", "text")  # kinds of messages; a text is the prompt of a completion model
_NOTHING = ("{}", "[]", "null")  # what a request without arguments, tools and schema has of them in its digest


class RowRequest(NamedTuple):
    """A request before it has a key.

    Attributes:
        identity: of the model, as it is for this call.
        rows: of its messages.
        call: the arguments of the call that can change an answer.
        attribution: who asks.
        describe: writes an object among the arguments as JSON data.
    """

    identity: Identity
    rows: Sequence[Row]
    call: Mapping[str, Any]
    attribution: Attribution
    describe: Describe = nothing_else

    def request(self, rows: Sequence[Row] | None = None) -> Request:
        """What the cache policy makes a key of; with other ``rows`` than those of its messages.

        Raises:
            NotCanonical: a part has no exact written form.
        """
        identity, describe = self.identity, self.describe
        if rows is None:
            rows = self.rows
        arguments, written = NO_ARGUMENTS, _NOTHING
        if self.call:
            call = dict(self.call)
            arguments = Arguments.of(call)
            if call.get("stop", ...) is None:
                del call["stop"]
            tools = sorted([canonical(tool, describe) for tool in arguments.tools])
            written = (canonical(call, describe), dump(tools), canonical(arguments.schema, describe))
        parts = [identity.text, *written]
        for row in rows:
            # Most are a kind and a text, which need no JSON: it would take half the time of a key.
            parts += row if len(row) == 2 and isinstance(row[1], str) else ("json", dump(row))
        question = rows[-1][1] if rows and rows[-1][0] in _PERSONS else ""
        return cache_request(
            digest(*parts),
            arguments,
            question if isinstance(question, str) else text_of_blocks(question),
            self.attribution,
            model=identity.name,
            settings=identity.parameters,
            live=identity.live,
            caller=identity.caller,
        )


def text_of_blocks(blocks: Sequence[Any]) -> str:
    """The text of a message whose content is a list of blocks."""
    return "\n".join(block if isinstance(block, str) else str(block.get("text", "")) for block in blocks)
