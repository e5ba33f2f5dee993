"""The code blocks of README.md and docs/*.md, so that tests can run what readers copy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
_HEADING = re.compile(r"#+ (.+)")
_FENCE = re.compile(r"```(\w*)")


class Block(NamedTuple):
    """One fenced block."""

    document: str
    """Path of the document, relative to the repository."""
    section: str
    """The heading above it."""
    language: str
    """What stands behind the opening fence; may be empty."""
    line: int
    """Of the opening fence, from 1."""
    text: str

    @property
    def title(self) -> str:
        return f"{self.document}:{self.line}"

    def run(self, names: dict[str, object]) -> None:
        """Execute a Python block with and into ``names``; tracebacks show the document's own lines."""
        padded = "\n" * self.line + self.text
        exec(compile(padded, str(ROOT / self.document), "exec"), names)


def read_blocks(document: str) -> list[Block]:
    """All fenced blocks of a document, in order."""
    blocks, section, begun, language, lines = [], "", 0, "", []
    for number, line in enumerate((ROOT / document).read_text().splitlines(), start=1):
        if begun:
            if line == "```":
                blocks.append(Block(document, section, language, begun, "\n".join(lines) + "\n"))
                begun, lines = 0, []
            else:
                lines.append(line)
        elif fence := _FENCE.fullmatch(line):
            begun, language = number, fence[1]
        elif heading := _HEADING.fullmatch(line):
            section = heading[1]
    return blocks


def all_documents() -> list[str]:
    """The documents for users: README.md and docs/*.md."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
