"""What is stored beside a reservation, so that the ledger can record the call if its process never comes back.

A note is text: the fields of the call separated by the ASCII unit separator, which is ten times faster to write than
JSON (one is written for every call); names and values of tags, if there are any, follow. It never holds the prompt.
"""

from __future__ import annotations

from costguard_core.types import Attribution, Call, Usage

_SEPARATOR = "\x1f"
_FIELDS = 13


def write_note(call: Call, output_tokens: int) -> str:
    """The note of ``call``, which holds ``output_tokens`` for each of its choices."""
    who = call.attribution
    fields: tuple[str, ...] = (
        call.model,
        call.provider or "",
        repr(call.started),
        call.kind,
        call.tier or "",
        str(call.input_tokens or 0),
        str(output_tokens * call.choices),
        who.user or "",
        who.tenant or "",
        who.session or "",
        who.endpoint or "",
        who.feature or "",
        who.template or "",
    )
    for tag in who.tags:
        fields += tag
    note = _SEPARATOR.join(fields)
    if note.isascii() and note.count(_SEPARATOR) == len(fields) - 1:
        return note
    # Names may hold anything: our separator, or half of a character, which no store can write.
    return _SEPARATOR.join([field.replace(_SEPARATOR, " ").encode("utf-8", "replace").decode() for field in fields])


def read_note(id: str, note: str) -> tuple[Call, Usage] | None:
    """The call of an abandoned reservation and what it was held for, or ``None`` if the note is not one of ours."""
    try:
        fields = note.split(_SEPARATOR)
        model, provider, started, kind, tier, prompt, output, *who = fields[:_FIELDS]
        user, tenant, session, endpoint, feature, template = (value or None for value in who)
        tags = tuple(zip(fields[_FIELDS::2], fields[_FIELDS + 1 :: 2], strict=True))
        usage = Usage(input_tokens=int(prompt), output_tokens=int(output), tier=tier or None, estimated=True)
        attribution = Attribution(user, tenant, session, endpoint, feature, template, tags=tags)
        call = Call(id, model, float(started), provider or None, attribution, kind=kind)
    except ValueError:
        return None
    return call, usage
