"""Every code block of README and docs runs as it stands there, or is read by what it is for.

Python blocks of a document run one after the other, with what the document presumes its reader to have. Blocks of
README and recipes stand alone: ``test_readme.py`` and ``test_recipes.py`` run them and look at what they do.
"""

from __future__ import annotations

import random
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import ROOT, Block, all_documents, read_blocks
from typer.main import get_command

from costguard_core.cli.main import app
from costguard_core.policy import load_policy
from costguard_core.pricing.price_file import read_price_file
from costguard_core.simulate import Simulator

RUN_ELSEWHERE = {"README.md", "docs/recipes.md", "docs/fastapi.md"}
DOCUMENTS = [name for name in all_documents() if name not in RUN_ELSEWHERE]
BLOCKS = [block for name in all_documents() for block in read_blocks(name)]
LANGUAGES = {
    "": "output or a picture",
    "diff": "output",
    "text": "output",
    "python": "",
    "console": "",
    "toml": "",
    "yaml": "",
}


def of(language: str) -> list[Any]:
    return [pytest.param(block, id=block.title) for block in BLOCKS if block.language == language]


# What a document presumes its reader to have.


def _llamaindex() -> dict[str, Any]:
    from llama_index.core import Document, SummaryIndex
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.llms.openai import OpenAI

    return {
        "index": SummaryIndex.from_documents([Document(text="Cats sleep for most of the day.")]),
        "mini": OpenAI(model="gpt-4.1-mini"),
        "large": OpenAI(model="gpt-4.1"),
        "coder": OpenAI(model="gpt-4.1"),
        "is_about_code": lambda messages: "def " in messages.text,
        "get_dispatcher": get_dispatcher,
    }


def _langchain() -> dict[str, Any]:
    from langchain_classic.retrievers import ContextualCompressionRetriever
    from langchain_core.documents import Document
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda
    from langchain_openai import ChatOpenAI
    from llama_index.llms.openai import OpenAI

    from costguard_core.routing import learned
    from langchain_costguard import CostGuard, ExactCache
    from llamaindex_costguard import guard_llm

    _write_router()
    return _llamaindex() | {
        "ContextualCompressionRetriever": ContextualCompressionRetriever,
        "CostGuard": CostGuard,
        "OpenAI": OpenAI,
        "cache": ExactCache(),
        "coder": ChatOpenAI(model="gpt-4.1"),
        "found": RunnableLambda(lambda _: [Document("Cats sleep. Dogs bark.")]),
        "guard": CostGuard(),
        "guard_llm": guard_llm,
        "large": ChatOpenAI(model="gpt-4.1"),
        "learned": learned,
        "mini": ChatOpenAI(model="gpt-4.1-mini"),
        "my_rows": list(_rows()),
        "prompt": ChatPromptTemplate.from_template("{question}"),
    }


def _rows() -> Iterator[dict[str, Any]]:
    """Pairs in which the endpoint says whether the cheap model does."""
    draw = random.Random(1)  # noqa: S311 -- no secret
    for number in range(400):
        hard = draw.random() < 0.5
        text = f"Prove theorem {number} by induction." if hard else f"Translate word {number}."
        weak = float(draw.random() < 0.2) if hard else 1.0
        yield {"prompt": text, "weak": weak, "strong": 1.0, "endpoint": "/prove" if hard else "/translate"}


def _write_router() -> None:
    from costguard_core.routing.learning.evaluation import prove
    from costguard_core.routing.learning.rows import Row

    scorer, _ = prove(Row(row["prompt"], row["weak"], row["strong"], tag=row["endpoint"]) for row in _rows())
    scorer.save("router.json")


def _policy() -> dict[str, Any]:
    from langchain_openai import ChatOpenAI

    blocks = [block.text for block in read_blocks("docs/policy.md") if block.language == "toml"]
    Path("costguard.toml").write_text("\n".join(blocks))
    return {"mini": ChatOpenAI(model="gpt-4o-mini"), "large": ChatOpenAI(model="gpt-4o")}


def _money() -> dict[str, Any]:
    from costguard_core import CostGuard

    return {"CostGuard": CostGuard}


READER_HAS: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/llamaindex.md": _llamaindex,
    "docs/money.md": _money,
    "docs/policy.md": _policy,
    "docs/routing.md": _langchain,
}


PRINTS = {
    "docs/budgets.md": "granted: $25/day per user, user=u1: $50.00",
    "docs/incidents.md": "stopped: session=chat-7 until",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "document", [name for name in DOCUMENTS if any(b.language == "python" for b in read_blocks(name))]
)
def test_python(document: str, openai_server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "__main__", **READER_HAS.get(document, dict)()}
    for block in read_blocks(document):
        if block.language == "python":
            block.run(names)
    assert PRINTS.get(document, "") in capsys.readouterr().out


@pytest.mark.parametrize("block", of("console"))
def test_commands_and_their_options_exist(block: Block) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["$", "costguard"]:
            _check_command(words[2:], block.title)


def _context(command: Any) -> Any:
    return command.make_context("costguard", ["--help"], resilient_parsing=True)


def _commands(command: Any, path: str = "costguard") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    context = _context(command)
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name), f"{path} {name}")


COMMANDS = dict(_commands(get_command(app)))


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_is_one(path: str) -> None:
    _, _, example = (COMMANDS[path].help or "").partition("Example: ")
    assert example.startswith(path)
    _check_command(shlex.split(example.splitlines()[0])[1:], path)


@pytest.mark.parametrize("path", COMMANDS)
def test_no_word_of_the_help_is_taken_for_a_style(path: str) -> None:
    command = COMMANDS[path]
    shown = [command.help or "", *(getattr(parameter, "help", None) or "" for parameter in command.params)]
    assert not re.findall(r"(?<!\\)\[[a-z/][^\]]*\]", " ".join(shown))


def _check_command(words: list[str], where: str) -> None:
    command: Any = get_command(app)
    path = "costguard"
    for word in words:
        if word in (">", "|", "then"):
            break
        if word.startswith("--"):
            name = word.partition("=")[0]
            known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
            assert name in known, f"{where}: {path} has no {name}"
        elif hasattr(command, "get_command"):
            found = command.get_command(_context(command), word)
            assert found is not None, f"{where}: {path} has no command {word!r}"
            command, path = found, f"{path} {word}"


@pytest.mark.parametrize("block", of("toml"))
def test_toml_is_a_policy_or_a_price_file(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "costguard.toml"
    path.write_text(block.text)
    if set(tomllib.loads(block.text)) <= {"source", "date", "prices"}:
        assert read_price_file(path).prices
    else:
        assert load_policy(path)


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_can_be_read(block: Block) -> None:
    assert yaml.safe_load(block.text)


def test_no_language_is_left_out() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES.keys()


@pytest.mark.parametrize("document", all_documents())
def test_links_lead_somewhere(document: str) -> None:
    """Files of the repository that a document names, and headings in them, are there."""
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), f"{document} links to {target}"
        if heading:
            assert heading in _anchors(path.read_text()), f"{document} links to {target}"


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives headings: lower case, punctuation dropped, blanks to hyphens."""
    import re

    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
