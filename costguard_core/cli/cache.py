"""``costguard cache``: look into the semantic cache, fill it from an FAQ, ask for reasons, throw things out."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.cli import cache_log, cache_review
from costguard_core.cli.arguments import Json
from costguard_core.cli.cache_options import DEFAULT, Chroma, Embedding, Name, Scope, opened
from costguard_core.cli.printing import print_json, print_result, print_text
from costguard_core.errors import ConfigurationError
from costguard_core.types import usd

if TYPE_CHECKING:
    from costguard_core.cache.semantic.engine import SemanticEngine
    from costguard_core.cache.semantic.query import SemanticQuery

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Look into the semantic cache, seed it, ask why it decided as it did, throw things out.",
)


app.command()(cache_log.calibrate)
app.command()(cache_log.suggest)
app.command()(cache_review.review)
app.command()(cache_review.confirm)
app.command()(cache_review.refute)


@app.command()
def stats(*, chroma: Chroma = DEFAULT, name: Name = None, as_json: Json = False) -> None:
    """Show the scopes, what they hold and saved, and the measured error.

    Example: costguard cache stats
    """
    with opened(chroma, name, claim=False) as engine:
        scopes = [_scope_row(engine, scope) for scope in engine.index.scopes()]
        result = {**_error_row(engine), "scopes": scopes}
    if as_json:
        print_json(result)
        return
    for row in scopes:
        print_text(
            f"{row['scope'][:10]}  {row['entries']:>6} entries  {row['served']:>6} hits  ${row['saved_usd']} saved"
            f'  e.g. "{row["example"]}"'
        )
    if not scopes:
        print_text("no answer is stored")
    print_text(_error_text(result))


@app.command()
def explain(
    question: str,
    *,
    chroma: Chroma = DEFAULT,
    name: Name = None,
    scope: Scope = None,
    embedding: Embedding = "wordllama",
    decide: Annotated[str, typer.Option(help="calibrated or guarded.")] = "calibrated",
    as_json: Json = False,
) -> None:
    """Say what the cache would answer to a question, and why; nothing is served or counted.

    Example: costguard cache explain 'How can I send something back?'
    """
    from costguard_core.cache.semantic.existing import embedder

    with opened(chroma, name, claim=False, decide=decide, embedding=embedding) as engine:
        query = _query(question, _chosen(engine, scope))
        near = engine.search(query, embedder(embedding)(question))
        verdict = engine.verdict_on(query, near)
    result = {
        "hit": verdict.hit,
        "reason": verdict.reason,
        "probability": verdict.probability,
        "near": [{"similarity": round(one.similarity, 3), "question": one.entry.question} for one in near],
        "refused": [{"question": one.question, "reason": reason} for one, reason in verdict.refused],
    }
    if as_json:
        print_json(result)
        return
    print_text(verdict.beside((one.similarity, one.entry.question) for one in near))


@app.command()
def audit(*, chroma: Chroma = DEFAULT, name: Name = None, as_json: Json = False) -> None:
    """Show how often hits were wrong, and the entries that fresh answers contradicted most.

    Example: costguard cache audit
    """
    with opened(chroma, name, claim=False) as engine:
        result = {**_error_row(engine), "suspects": _suspects(engine)}
    if as_json:
        print_json(result)
        return
    print_text(_error_text(result))
    for row in result["suspects"]:
        print_text(f'  contradicted {row["wrong"]} times, confirmed {row["right"]}: "{row["question"]}"')


@app.command()
def seed(
    file: Annotated[Path, typer.Argument(help="CSV: question, answer, and perhaps paraphrases, between |.")],
    *,
    chroma: Chroma = DEFAULT,
    name: Name = None,
    scope: Scope = None,
    embedding: Embedding = "wordllama",
    as_json: Json = False,
) -> None:
    """Store written answers in a scope that the application has already used; they are pinned.

    Example: costguard cache seed answers.csv
    """
    from costguard_core.cache.keys import digest
    from costguard_core.cache.semantic.existing import embedder
    from costguard_core.cache.semantic.seeding import Wording
    from costguard_core.cache.semantic.written import written_answer

    rows, declined, wordings = _faq(file), dict[str, str](), []
    with opened(chroma, name, embedding=embedding) as engine:
        chosen, embed = _chosen(engine, scope), embedder(embedding)
        is_of_objects = all(_is_object(entry.text) for entry in engine.index.entries(chosen))
        for question, text in rows:
            if is_of_objects and not _is_object(text):
                declined[question] = "the application wants JSON objects in this scope"
                continue
            query, vector = _query(question, chosen), embed(question)
            group = digest("written", text)
            reason = engine.seed(query, vector, written_answer(text), text, group=group)
            if reason is not None:
                declined[question] = reason
            else:
                wordings.append(Wording(query, vector, group))
        engine.learn_from_seeds(wordings)
    stored = len(wordings)
    lines = [f"{stored} answers stored in scope {chosen[:10]}."]
    lines += [f'  not "{question}": {reason}' for question, reason in declined.items()]
    print_result({"stored": stored, "scope": chosen, "declined": declined}, "\n".join(lines), as_json=as_json)


@app.command()
def purge(
    *,
    chroma: Chroma = DEFAULT,
    name: Name = None,
    tag: Annotated[list[str] | None, typer.Option(help="Also what carries this tag, e.g. document=faq-7.")] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Leave nothing on disk of what carries the tags.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every entry.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what has expired; by tag, what was about a document, a user or a tenant; or everything.

    Example: costguard cache purge --tag document=returns.md
    """
    with opened(chroma, name) as engine:
        removed = engine.purge()
        if tag:
            removed += engine.invalidate(_tags(tag), scrub=erase)
        if everything:
            removed += sum(engine.index.count(scope) for scope in engine.index.scopes())
            engine.clear()
    print_result({"removed": removed}, f"{removed} entries removed.", as_json=as_json)


def _chosen(engine: SemanticEngine, wanted: str | None) -> str:
    known = engine.index.scopes()
    if not known:
        raise ConfigurationError(
            "no answer is stored in this cache yet, so that it has no scope: one appears when the application stores "
            "its first answer in it. Before that, seed from Python, where the model says which: "
            "cache.seed(answers, model)"
        )
    scopes = [scope for scope in known if scope.startswith(wanted or "")]
    if len(scopes) != 1:
        raise ConfigurationError(
            f"{len(scopes)} of {len(known)} scopes match; choose one with --scope (costguard cache stats lists them)"
        )
    return scopes[0]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _query(question: str, scope: str) -> SemanticQuery:
    from costguard_core.cache.keys import CacheKey, digest
    from costguard_core.cache.semantic.query import SemanticQuery

    key = CacheKey(digest=digest("seed", scope, question))
    return SemanticQuery(question, scope, key)


def _scope_row(engine: SemanticEngine, scope: str) -> dict[str, Any]:
    entries = engine.index.entries(scope)
    uses = [engine.evidence.counts(entry.id) for entry in entries]
    return {
        "scope": scope,
        "entries": len(entries),
        "expired": sum(not entry.alive(time.time()) for entry in entries),
        "served": sum(use.served for use in uses),
        "saved_usd": f"{usd(sum(use.saved for use in uses)):f}",
        "example": entries[0].question[:60] if entries else "",
    }


def _error_row(engine: SemanticEngine) -> dict[str, Any]:
    known = engine.stats()
    return {
        "serving": known.is_open,
        "labels": known.labels,
        "measured_error": known.measured_error._asdict(),
        "audited_error": known.audited_error._asdict(),
        "comparator_error": known.comparator_error,
        "confirmed": known.confirmed,
        "refuted": known.refuted,
    }


def _error_text(result: dict[str, Any]) -> str:
    error = result["measured_error"]
    state = "serving" if result["serving"] else "learning, serving only what people wrote so far"
    if not result["labels"]:
        return f"calibrated: {state}; nothing measured yet"
    return (
        f"calibrated: {state}; measured error of would-be hits {error['share']:.1%} "
        f"({error['low']:.1%} to {error['high']:.1%}, {result['labels']} labels); "
        f"{result['refuted']} refuted, {result['confirmed']} confirmed"
    )


def _suspects(engine: SemanticEngine, most: int = 10) -> list[dict[str, Any]]:
    entries = (entry for scope in engine.index.scopes() for entry in engine.index.entries(scope))
    rows = ((engine.evidence.counts(entry.id), entry.question) for entry in entries)
    wrong = sorted((row for row in rows if row[0].wrong), key=lambda row: -row[0].wrong)
    return [{"question": text, "wrong": counts.wrong, "right": counts.right} for counts, text in wrong[:most]]


def _faq(file: Path) -> list[tuple[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [
                (wording.strip(), row["answer"].strip())
                for row in csv.DictReader(lines)
                for wording in (row["question"], *(row.get("paraphrases") or "").split("|"))
            ]
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except (KeyError, AttributeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not a CSV file with the columns question and answer") from error
    return [row for row in rows if all(row)]


def _tags(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if not all(value for _, _, value in pairs):
        raise ConfigurationError("a tag is written name=value, for example --tag user=u1")
    return {name: value for name, _, value in pairs}
