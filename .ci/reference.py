"""Writes docs/reference.md from the docstrings of the public names: ``python .ci/reference.py > docs/reference.md``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import langchain_costguard
import llamaindex_costguard

_TOP = (Path(__file__).parent / "reference.head.md").read_text()

# Under which heading a name stands. What is new stands under the last one until it is put here.
_SECTIONS = {
    "Guard and budgets": "CostGuard Budget Breaker attribute".split(),
    "Errors": "CostGuardError SpendLimitExceeded UnpricedModelError StoreUnavailable".split(),
    "Caches": "ExactCache SemanticCache LayeredCache CachePolicy cache_control judged".split(),
    "LangChain": (
        "install uninstall GuardedChatModel CostGuardCallbackHandler CostGuardMiddleware GuardedEmbeddings "
        "TieredRouter PromptEconomy SentenceFilter"
    ).split(),
    "LlamaIndex": "guard_llm guard_embedding CostGuardEventHandler".split(),
    "Hooks": "LoggingHook WebhookHook PrometheusHook OpenTelemetryHook".split(),
    "Others": [],
}
# Frameworks' own methods, which a wrapper has like the class that it wraps.
_SHOWN_METHODS = {
    "CostGuard": None,
    "Budget": ["parse"],
    "ExactCache": None,
    "SemanticCache": None,
    "TieredRouter": ["explain", "is_hard", "feedback", "guarded_by"],
}
_HEADING = re.compile(r"(Args|Attributes|Raises[^:]*|Returns|Yields):")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")
_ENTRY = re.compile(r"(\w[\w, .]*?): (.*)")


class Docs(NamedTuple):
    """A docstring in parts: its paragraphs, its arguments, and what it raises."""

    text: str
    arguments: dict[str, str]
    raises: dict[str, str]


def main() -> None:
    sys.stdout.write(reference())


def reference() -> str:
    """The whole page."""
    packages = (langchain_costguard, llamaindex_costguard)
    names = {name: getattr(package, name) for package in reversed(packages) for name in package.__all__}
    placed = {name for section in _SECTIONS.values() for name in section}
    parts = [_TOP]
    for section, members in _SECTIONS.items():
        shown = [*members, *(sorted(names.keys() - placed) if section == "Others" else ())]
        parts += [f"## {section}\n", *(_entry(name, names[name]) for name in shown)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _entry(name: str, thing: Any) -> str:
    docs = _docs(thing)
    lines = [f"### {name}", "", docs.text, ""]
    lines += _arguments(thing, docs)
    lines += [f"Raises `{error}`: {text}" + "\n" for error, text in docs.raises.items()]
    if inspect.isclass(thing) and name in _SHOWN_METHODS:
        lines += _methods(thing, _SHOWN_METHODS[name])
    return "\n".join(lines)


def _arguments(thing: Any, docs: Docs) -> Iterator[str]:
    if not docs.arguments:
        return
    defaults = _defaults(thing)
    yield "| argument | default | what it is |\n|---|---|---|"
    for names, text in docs.arguments.items():
        shown = ", ".join(f"`{name}`" for name in names.split(", "))
        known = [defaults[name] for name in names.split(", ") if defaults.get(name)]
        yield f"| {shown} | {', '.join(dict.fromkeys(known))} | {text} |"
    yield ""


def _defaults(thing: Any) -> dict[str, str]:
    try:
        parameters = inspect.signature(thing).parameters.values()
    except ValueError:  # an exception that takes what Exception takes
        return {}
    return {p.name: f"`{p.default!r}`" for p in parameters if _is_plain(p.default)}


def _is_plain(default: object) -> bool:
    return default is not inspect.Parameter.empty and isinstance(default, (str, int, float, tuple, type(None)))


def _methods(kind: type, only: list[str] | None) -> Iterator[str]:
    for name in only or sorted(_public_methods(kind)):
        method = inspect.getattr_static(kind, name)
        function = getattr(method, "fget", None) or getattr(method, "__func__", method)
        text = _docs(function).text.partition("\n\n")[0]
        called = "" if isinstance(method, property) else f"({_parameters(function)})"
        yield f"- `.{name}{called}`: {text}"
    yield ""


def _public_methods(kind: type) -> set[str]:
    return {
        name
        for base in _our_bases(kind)
        for name, value in vars(base).items()
        if not name.startswith("_") and name not in _INNER
        if callable(value) or isinstance(value, (property, classmethod))
        if inspect.getdoc(getattr(kind, name))
    }


def _our_bases(kind: type) -> list[type]:
    packages = ("costguard_core", "langchain_costguard", "llamaindex_costguard")
    return [base for base in kind.__mro__ if base.__module__.startswith(packages)]


# How adapters talk to the core; applications have no use for them.
_INNER = frozenset(
    "reserving settling failing settling_abandoned admit_anyway hit bind layers_for layers_for_text request_layers "
    "query lookup alookup update aupdate".split()
)


def _parameters(function: Any) -> str:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    shown, keyword_only = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            shown.append("*")
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        keyword_only = keyword_only or star == "*"
        default = f"={parameter.default!r}" if _is_plain(parameter.default) else ""
        shown.append(f"{star}{parameter.name}{default}")
    return ", ".join(shown)


def _docs(thing: Any) -> Docs:
    """What a class, with what it inherits and its ``__init__``, or a function says of itself."""
    found = _parse(inspect.getdoc(thing) or "")
    if not inspect.isclass(thing):
        return found
    arguments, raises = dict(found.arguments), dict(found.raises)
    for base in _our_bases(thing):
        for text in (base.__doc__, vars(base).get("__init__") and base.__init__.__doc__):
            more = _parse(inspect.cleandoc(text or ""))
            arguments = arguments or dict(more.arguments)
            raises = raises or dict(more.raises)
    accepted = set(_accepted(thing))
    kept = {names: text for names, text in arguments.items() if not accepted or accepted & set(names.split(", "))}
    return Docs(found.text, kept, raises)


def _accepted(kind: type) -> list[str]:
    try:
        return list(inspect.signature(kind).parameters)
    except ValueError:
        return []


def _parse(doc: str) -> Docs:
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in doc.splitlines():
        if heading := _HEADING.fullmatch(line):
            current = sections.setdefault(heading[1].partition(" ")[0], [])
        elif current is not None and (line.startswith("    ") or not line):
            current.append(line[4:])
        else:
            current = None
            text.append(line)
    arguments = _entries(sections.get("Args", []) or sections.get("Attributes", []))
    return Docs(_paragraphs(text), arguments, _entries(sections.get("Raises", [])))


def _entries(lines: list[str]) -> dict[str, str]:
    """``name: text`` with the lines that go on below it; several entries may share a line, ``a: …; b: …``."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if entry := _ENTRY.fullmatch(line):
            name = entry[1]
            found[name] = entry[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: _markdown(text).replace("|", r"\|") for name, text in found.items()}


def _paragraphs(lines: list[str]) -> str:
    """The text as Markdown: literal blocks after ``::`` stay as they are, other lines of a paragraph are joined."""
    out: list[str] = []
    for paragraph in "\n".join(lines).strip().split("\n\n"):
        if paragraph.startswith("    "):
            out.append("```text\n" + inspect.cleandoc(paragraph) + "\n```")
        else:
            out.append(_markdown(" ".join(line.strip() for line in paragraph.splitlines())))
    return "\n\n".join(out)


def _markdown(text: str) -> str:
    text = re.sub(
        r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`", lambda role: f"`{role[1].rpartition('.')[2]}`", text
    )
    return text.replace("``", "`").replace("::", ":")


if __name__ == "__main__":
    main()
