"""``costguard cache calibrate`` and ``suggest``: what a log of questions says the semantic cache should start from."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.cli.arguments import Json
from costguard_core.cli.cache_options import Embedding
from costguard_core.cli.printing import print_json, print_text
from costguard_core.errors import ConfigurationError
from costguard_core.types import usd

if TYPE_CHECKING:
    from costguard_core.cache.semantic.log_replay import Asked, Replayed

Log = Annotated[Path, typer.Option("--log", help="A prompt log: the file of PromptLog.")]


def calibrate(
    *,
    log: Log,
    chroma: Annotated[
        str | None, typer.Option("--chroma", help="Write what was learned into this folder or server, to start from.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="The cache's namespace.")] = "costguard",
    replace: Annotated[bool, typer.Option("--replace", help="Also if the cache there has learned before.")] = False,
    embedding: Embedding = "wordllama",
    max_error: Annotated[float, typer.Option(help="Share of hits that may be wrong.")] = 0.02,
    as_json: Json = False,
) -> None:
    """Replay a prompt log: what would have been served, and how much of it wrongly.

    Example: costguard cache calibrate --log prompts.db --chroma costguard.chroma
    """
    from costguard_core.cache.semantic.embeddings import margin_of, open_local
    from costguard_core.cache.semantic.log_replay import replay

    model = open_local(embedding)
    found = replay(_asked(log), lambda text: model.embed([text])[0], max_error=max_error, z=margin_of(model.name))
    if chroma is not None:
        _write(found.state, chroma, namespace, model.name, replace=replace)
    if as_json:
        print_json({**_row(found), "written": chroma})
        return
    print_text(_text(found))
    for one in found.examples:
        print_text(f'  {one.similarity:.3f}  "{one.question}" would get the answer of "{one.stored}": {one.reason}')
    if chroma is not None:
        print_text(f"Written to {chroma}; give the cache the same embedding and namespace.")


def suggest(
    *,
    log: Log,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a CSV that costguard cache seed reads, after editing.")
    ] = None,
    least: Annotated[int, typer.Option(help="How often it must have been asked.", min=2)] = 3,
    limit: Annotated[int, typer.Option(help="The most proposals.", min=1)] = 50,
    embedding: Embedding = "wordllama",
    as_json: Json = False,
) -> None:
    """Propose FAQ entries: questions of a prompt log that came back, the dearest first.

    Example: costguard cache suggest --log prompts.db --output faq.csv
    """
    from costguard_core.cache.semantic import log_replay
    from costguard_core.cache.semantic.embeddings import open_local

    model = open_local(embedding)
    found = log_replay.suggest(_asked(log), lambda text: model.embed([text])[0], least=least)[:limit]
    if output is not None:
        lines = io.StringIO(newline="")
        writer = csv.writer(lines)
        writer.writerow(["question", "answer", "paraphrases"])
        writer.writerows([one.question, one.answer, "|".join(one.paraphrases)] for one in found)
        output.write_text(lines.getvalue(), encoding="utf-8", newline="")
    if as_json:
        print_json([{**one._asdict(), "cost": f"{usd(one.cost):f}"} for one in found])
        return
    for one in found:
        more = f", {len(one.paraphrases)} other wordings" if one.paraphrases else ""
        print_text(f'{one.times:>5} times  ${usd(one.cost):f}  "{one.question}"{more}')
    print_text(f"{len(found)} proposals{f' in {output}; read the answers before you seed them' if output else ''}.")


def _asked(log: Path) -> list[Asked]:
    from costguard_core.cache.semantic.log_replay import Asked
    from costguard_core.routing.shadow.prompt_log import PromptLog

    if not PromptLog.is_at(log):
        raise ConfigurationError(f"there is no prompt log at {str(log)!r}")
    rows = []
    for pair, _ in PromptLog(log).pairs():
        strong = pair.shown != "weak" or pair.weak_answer is None
        answer = pair.strong_answer if strong else pair.weak_answer
        if answer:
            model, cost = (pair.strong_model, pair.strong_cost) if strong else (pair.weak_model, pair.weak_cost)
            rows.append(Asked(pair.prompt, answer, model or "", pair.tag, pair.user, pair.tenant, cost))
    if not rows:
        raise ConfigurationError(f"the prompt log {str(log)!r} holds no answers (PromptLog(answers=False)?)")
    return rows


def _write(state: str, where: str, namespace: str, model: str, *, replace: bool) -> None:
    from costguard_core.cache.semantic.embeddings import fingerprint
    from costguard_core.cache.semantic.index.opening import open_index

    path, url = (None, where) if "://" in where else (where, None)
    space = fingerprint("local", model)
    with closing(open_index(space, path=path, url=url, client=None, namespace=namespace, timeout=10)) as index:
        if index.load_state() is not None and not replace:
            raise ConfigurationError(f"the cache at {where!r} has learned before; --replace forgets that")
        index.save_state(state)


def _row(found: Replayed) -> dict[str, Any]:
    return {
        "asked": found.asked,
        "declined": found.declined,
        "hits": found.hits,
        "wrong": found.wrong,
        "unknown": found.unknown,
        "error": found.error._asdict(),
        "first_hit": found.first,
        "saved_usd": f"{usd(found.saved):f}",
        "open": found.is_open,
        "wrong_hits": [one._asdict() for one in found.examples],
    }


def _text(found: Replayed) -> str:
    share = found.hits / found.asked if found.asked else 0.0
    error = found.error
    measured = f"{error.share:.1%} ({error.low:.1%} to {error.high:.1%})" if found.hits > found.unknown else "unknown"
    return (
        f"{found.asked} questions, {found.declined} of them not shared by the policy. {found.hits} ({share:.1%}) would "
        f"have been served, the first at {found.first or '–'}; {found.wrong} wrongly, {found.unknown} cannot be told: "
        f"error {measured}. ${usd(found.saved):f} saved. "
        f"{'It would go on serving.' if found.is_open else 'It would not serve yet.'}"
    )
