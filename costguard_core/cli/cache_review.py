"""``costguard cache review``, ``confirm``, ``refute``: a person looks at near questions and says what is the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.cli.arguments import Json
from costguard_core.cli.cache_options import DEFAULT, Chroma, Embedding, Name, Scope, opened
from costguard_core.cli.printing import print_json, print_result, print_text
from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.cache.semantic.review import Change, Reviewable

Pair = Annotated[str, typer.Argument(help="The first characters of a pair, as review prints it.")]
Least = Annotated[float, typer.Option(help="Cosine from which pairs are shown.", min=0.6, max=1.0)]

_LONGEST = 200  # characters of an answer that are shown


def review(
    *,
    chroma: Chroma = DEFAULT,
    name: Name = None,
    scope: Scope = None,
    embedding: Embedding = "wordllama",
    least: Least = 0.8,
    limit: Annotated[int, typer.Option(help="The most pairs.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """List near questions with different answers: what would be served, and near misses with the reason.

    Example: costguard cache review
    """
    from costguard_core.cache.semantic.existing import embedder
    from costguard_core.cache.semantic.review import pairs_to_review, reason_of

    with opened(chroma, name, embedding=embedding) as engine:
        found = pairs_to_review(engine, embedder(embedding), least=least, scope=scope or "")[:limit]
    if as_json:
        print_json([_row(pair) for pair in found])
        return
    for pair in found:
        decided = "would serve" if pair.verdict.hit else "near miss"
        where = f"  (in {len(pair.copies) + 1} scopes)" if pair.copies else ""
        print_text(f"{pair.id}  {pair.similarity:.3f}  {decided}: {reason_of(pair)}{where}")
        for entry in (pair.entry, pair.other):
            print_text(f'    "{entry.question}": {" ".join(entry.text.split())[:_LONGEST]}')
    print_text(f"{len(found)} pairs. costguard cache refute PAIR: never the same; confirm PAIR: the same.")


def confirm(
    pair: Pair,
    *,
    chroma: Chroma = DEFAULT,
    name: Name = None,
    embedding: Embedding = "wordllama",
    least: Least = 0.8,
    as_json: Json = False,
) -> None:
    """Say that both questions of a pair want the same answer, and show what that changed.

    Example: costguard cache confirm 3f2a91
    """
    _judge(pair, chroma, name, embedding, least, same=True, as_json=as_json)


def refute(
    pair: Pair,
    *,
    chroma: Chroma = DEFAULT,
    name: Name = None,
    embedding: Embedding = "wordllama",
    least: Least = 0.8,
    as_json: Json = False,
) -> None:
    """Say that they do not: neither is given the other's answer again. Shows what that changed.

    Example: costguard cache refute 3f2a91
    """
    _judge(pair, chroma, name, embedding, least, same=False, as_json=as_json)


def _judge(
    pair: str, chroma: str, name: str | None, embedding: str, least: float, *, same: bool, as_json: bool
) -> None:
    from costguard_core.cache.semantic.existing import embedder
    from costguard_core.cache.semantic.review import find_pair, judge, pairs_to_review

    with opened(chroma, name, embedding=embedding) as engine:
        embed = embedder(embedding)
        found = find_pair(pairs_to_review(engine, embed, least=least), pair)
        if found is None:
            raise ConfigurationError(f"no single pair begins with {pair!r}: costguard cache review lists them")
        change = judge(engine, embed, found, same=same)
    result = _changed(found, change)
    print_result(result, _text(result), as_json=as_json)


def _row(pair: Reviewable) -> dict[str, Any]:
    from costguard_core.cache.semantic.review import reason_of

    return {
        "pair": pair.id,
        "similarity": round(pair.similarity, 3),
        "served": pair.verdict.hit,
        "reason": reason_of(pair),
        "scopes": [one.scope for one in (pair, *pair.copies)],
        "questions": [pair.entry.question, pair.other.question],
        "answers": [pair.entry.text, pair.other.text],
    }


def _changed(pair: Reviewable, change: Change) -> dict[str, Any]:
    return {
        "pair": pair.id,
        "questions": [pair.entry.question, pair.other.question],
        "before": change.before.reason,
        "after": change.after.reason,
        "cutoff": [_finite(change.cutoff_before), _finite(change.cutoff_after)],
        "same_words_from": [_finite(change.close_before), _finite(change.close_after)],
        "confirmed": change.confirmed,
        "refuted": change.refuted,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(result: dict[str, Any]) -> str:
    first, second = result["questions"]
    lines = [f'"{first}" / "{second}"', f"  before: {result['before']}", f"  now:    {result['after']}"]
    for name, what in (("cutoff", "serves from a probability of"), ("same_words_from", "serves the same words from")):
        before, after = ("nothing" if value is None else f"{value:.3f}" for value in result[name])
        lines.append(f"  {what} {after}" + ("" if before == after else f" (before: {before})"))
    lines.append(f"  {result['refuted']} refuted, {result['confirmed']} confirmed in all")
    return "\n".join(lines)
