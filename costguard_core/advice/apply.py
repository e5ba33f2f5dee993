"""Writing advice into a policy file: one line at a time, beside what people wrote, with the evidence as a comment.

The text is changed by inserting or removing whole lines, so that comments and formatting stay. After each change it is
parsed again: it must say what it said before, and the new setting, or the change is not made.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any, NamedTuple

from costguard_core.advice.finding import Advice, Finding, PolicyLine
from costguard_core.errors import ConfigurationError
from costguard_core.reports.display import format_money
from costguard_core.util.text import printable
from costguard_core.util.toml_document import Document, toml_key, toml_text

_LONGEST_COMMENT = 600  # characters: a choice
CONFIDENCES = ("low", "medium", "high")
# Somebody must have looked: the first two share answers between people or questions, the last may stop any session.
_ONLY_IF_NAMED = ("scope", "template", "loop")


class Skipped(NamedTuple):
    """A line that is not written, and why."""

    line: PolicyLine
    why: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a policy file.

    Attributes:
        before, after: its text.
        written: the lines that are new, or gone.
        skipped: lines that are not written.
    """

    before: str
    after: str
    written: tuple[PolicyLine, ...]
    skipped: tuple[Skipped, ...] = ()

    def diff(self, name: str) -> str:
        """The change for a review."""
        lines = unified_diff(self.before.splitlines(), self.after.splitlines(), f"{name} (now)", name, lineterm="")
        return "\n".join(lines)


def choose(advice: Advice, *, only: Sequence[str] = (), confidence: str = "high") -> list[Finding]:
    """The findings to write: those named, or all that are sure enough and need nobody to look first."""
    if only:
        return [finding for finding in advice if finding.kind in only]
    enough = CONFIDENCES[CONFIDENCES.index(confidence) :]
    return [finding for finding in advice if finding.confidence in enough and finding.kind not in _ONLY_IF_NAMED]


def apply(text: str, advice: Advice, findings: Iterable[Finding], *, date: str) -> Edit:
    """The policy ``text`` with the lines of ``findings``; ``date`` is written beside them, such as ``"2026-11-30"``.

    A setting that is there already is left alone.

    Raises:
        DocumentError: the text is no TOML.
    """
    after, written, skipped = text, list[PolicyLine](), list[Skipped]()
    for finding in findings:
        for line in finding.lines:
            changed, why = _inserted(after, line, comments_of(advice, finding, date))
            if changed is None:
                skipped.append(Skipped(line, why))
            else:
                after = changed
                written.append(line)
    return Edit(text, after, tuple(written), tuple(skipped))


def comments_of(advice: Advice, finding: Finding, date: str) -> list[str]:
    """What stands above a line that was advised; :mod:`costguard_core.advice.review` reads it again."""
    low, high = (format_money(advice.monthly(nanos), 2) for nanos in (finding.low, finding.high))
    expected = format_money(advice.monthly(finding.saving), 2)
    return [
        f"# advised {date}, {finding.kind} at {toml_text(finding.endpoint or '')}: {_short(finding.text)}",
        f"# expected: {expected} a month ({low} to {high}); risk: {_short(finding.risk)}",
    ]


def read_file(path: Path) -> str:
    """The text of a file, with the ends of lines that it has.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the policy file {str(path)!r} cannot be read: {error}") from None


def write_file(path: Path, text: str) -> None:
    """Replace a file as a whole: whoever reads it meanwhile sees the old one or the new one. A link stays one."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _inserted(text: str, line: PolicyLine, comments: Sequence[str]) -> tuple[str | None, str]:
    """``text`` with one line more; ``None`` and why, where that cannot be."""
    document = Document(text, "costguard.toml")
    wanted = deepcopy(document.values)
    table: Any = wanted
    for name in line.table:
        table = table.setdefault(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        return None, "what it belongs to is no table"
    if line.key in table:
        return None, f"{line.key} is written there already"
    table[line.key] = tomllib.loads(f"x = {line.value}")["x"]
    end = "\r\n" if "\r\n" in text else "\n"
    new = [f"{part}{end}" for part in (*comments, f"{line.key} = {line.value}")]
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    header = document.header_line(line.table)
    if not line.table:
        at = next((i for i, each in enumerate(lines) if each.strip() and not each.lstrip().startswith("#")), len(lines))
        new.append(end)
    elif header is not None:
        at = header
    else:
        at = len(lines)
        head = f"[{'.'.join(toml_key(name) for name in line.table)}]{end}"
        new = [*([end] if lines else []), head, *new]
    changed = "".join([*lines[:at], *new, *lines[at:]])
    if _values(changed) != wanted:
        return None, "it cannot be written beside what is there: write it by hand"
    return changed, ""


def removed(text: str, at: Sequence[tuple[int, int]]) -> Edit:
    """``text`` without some lines that advice has written: from the first comment to the setting, both from 0.

    Raises:
        DocumentError: the text is no TOML.
    """
    after, gone, skipped = text, list[PolicyLine](), list[Skipped]()
    for first, last in sorted(at, reverse=True):
        lines = after.splitlines(keepends=True)
        name, _, value = (part.strip() for part in lines[last].partition("="))
        changed = "".join(lines[:first] + lines[last + 1 :])
        if _values(changed) is not None and name in _lost(_values(after), _values(changed)):
            after = changed
            gone.append(PolicyLine((), name, value))
        else:
            skipped.append(Skipped(PolicyLine((), name, value), "it has been changed since: take it out by hand"))
    return Edit(text, after, tuple(gone), tuple(skipped))


def _lost(before: object, after: object) -> list[str]:
    """The names of settings that are gone, where nothing else has changed; else none."""
    if not isinstance(before, dict) or not isinstance(after, dict) or after.keys() - before.keys():
        return []
    gone = [name for name in before if name not in after]
    differ = [name for name in after if before[name] != after[name]]
    if len(gone) + len(differ) != 1:
        return []
    return gone or _lost(before[differ[0]], after[differ[0]])


def _values(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _short(text: str) -> str:
    return printable(text, most=_LONGEST_COMMENT)
