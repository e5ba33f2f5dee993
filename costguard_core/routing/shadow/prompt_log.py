"""The prompt log: a small file of questions that both models answered, which a router is trained on.

It is the only place where Costguard writes prompts down, so it exists only where somebody asked for it, holds no more
than it needs, and forgets on request.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.routing.learning.labels import Compare, Facts, opinion, qualities
from costguard_core.routing.learning.training import Row
from costguard_core.routing.shadow.agreement import agreement
from costguard_core.routing.shadow.redaction import redacted

MAX_PAIRS = 5000  # the learner reads the newest 4,000
MAX_CHARACTERS = 10_000  # of each text; the learner reads 4,000 (the two ends)
_OPINION = 1000  # users tell of answers before their pair is complete: so many are kept per pair allowed at least
_TABLES = """
CREATE TABLE IF NOT EXISTS costguard_pairs (
    id TEXT PRIMARY KEY, time REAL NOT NULL, tag TEXT, user_id TEXT, tenant TEXT, session_id TEXT,
    weak_model TEXT, strong_model TEXT, weak_cost INTEGER, strong_cost INTEGER,
    shown TEXT NOT NULL, agree REAL NOT NULL, weak_ok INTEGER, strong_ok INTEGER, weak REAL, strong REAL,
    prompt TEXT NOT NULL, weak_answer TEXT, strong_answer TEXT);
CREATE INDEX IF NOT EXISTS costguard_pairs_time ON costguard_pairs (time);
CREATE TABLE IF NOT EXISTS costguard_feedback (id TEXT PRIMARY KEY, time REAL NOT NULL, quality REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """One question and what both models made of it. ``time`` is unix seconds, costs are nano-dollars (or unknown).

    ``shown`` is the side that the user saw, ``weak_ok`` and ``strong_ok`` are verdicts of a check. ``agree``, ``weak``
    and ``strong`` (qualities, 0..1) are filled in by the log. Answers are ``None`` where the log keeps none.
    """

    id: str
    time: float
    prompt: str
    weak_answer: str | None
    strong_answer: str | None
    shown: str
    tag: str | None = None
    user: str | None = None
    tenant: str | None = None
    session: str | None = None
    weak_model: str | None = None
    strong_model: str | None = None
    weak_cost: int | None = None
    strong_cost: int | None = None
    weak_ok: bool | None = None
    strong_ok: bool | None = None
    agree: float = 0.0
    weak: float | None = None
    strong: float | None = None


_RENAMED = {"user": "user_id", "session": "session_id"}
_NAMES = tuple(field.name for field in fields(Pair))
_COLUMNS = tuple(_RENAMED.get(name, name) for name in _NAMES)


class PromptLog:
    """Paired answers in a SQLite file (mode 0600), shared by any number of threads and processes.

    Written are the question as the router reads it (the last thing that the user said), both answers, the call site,
    who asked (so that it can be erased), models, costs and verdicts. Not written: system prompts, history, tools,
    parameters, headers; what looks like a credential is replaced.

    Args:
        path: the file, or ``sqlite:///path``; made when missing.
        compare: how good are two answers? See :mod:`costguard_core.routing.learning.labels`; asked once, off the
            user's path.
        max_pairs: the oldest leave when there are more.
        max_characters: of each text; of a longer one, the middle is left out.
        answers: keep the answers too, so that pairs can be judged anew when a router is trained.
        redact: what is done to every text before it is written.
        clock: unix seconds.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        compare: Compare | None = None,
        max_pairs: int = MAX_PAIRS,
        max_characters: int = MAX_CHARACTERS,
        answers: bool = True,
        redact: Callable[[str], str] = redacted,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = _path(path)
        self._compare, self._answers, self._redact = compare, answers, redact
        self._max_pairs, self._max_characters, self.clock = max_pairs, max_characters, clock
        if max_pairs < 1 or max_characters < 100:
            raise ConfigurationError("a prompt log holds at least 1 pair, with at least 100 characters of each text")
        with self._open():
            pass

    @staticmethod
    def is_at(path: str | PathLike[str]) -> bool:
        """Whether the file is a prompt log already. Looks, and changes nothing: somebody else's database stays so."""
        try:
            with closing(sqlite3.connect(f"{_path(path).as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
                found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'costguard_pairs'").fetchone()
        except sqlite3.Error:
            return False
        return found is not None

    def __deepcopy__(self, memo: dict[int, object]) -> PromptLog:
        return self

    def __repr__(self) -> str:
        return f"PromptLog({str(self.path)!r})"

    def __len__(self) -> int:
        with self._open() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM costguard_pairs").fetchone()[0])

    def add(self, *pairs: Pair) -> None:
        """Label pairs and write them; the oldest leave. The answers must be given, whether they are kept or not.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        rows = [[_storable(getattr(pair, name)) for name in _NAMES] for pair in map(self._labelled, pairs)]
        marks = ", ".join("?" * len(_COLUMNS))
        with self._open() as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO costguard_pairs ({', '.join(_COLUMNS)}) VALUES ({marks})", rows
            )
            _trim(connection, "costguard_pairs", self._max_pairs)

    def feedback(self, id: str, quality: float) -> None:
        """What the user thinks of the answer that they saw: 0 (bad) to 1 (good). It may come before the pair does.

        Raises:
            ConfigurationError: not a number from 0 to 1, or the file cannot be used.
        """
        if not 0 <= quality <= 1:
            raise ConfigurationError(f"a quality is 0 (bad) to 1 (good), not {quality!r}")
        with self._open() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO costguard_feedback VALUES (?, ?, ?)", (id, self.clock(), float(quality))
            )
            _trim(connection, "costguard_feedback", max(self._max_pairs, _OPINION))

    def forget(self, *, user: str | None = None, tenant: str | None = None, session: str | None = None) -> int:
        """Erase what was asked by a user, a tenant or in a session (by all that are given); returns how many pairs.

        The bytes are overwritten in the file, not only marked as free. Backups are yours to see to.
        """
        given = {"user_id": user, "tenant": tenant, "session_id": session}
        wanted = {name: value for name, value in given.items() if value is not None}
        if not wanted:
            raise ConfigurationError("forget whom? user=, tenant= or session=")
        where = " AND ".join(f"{name} = ?" for name in wanted)
        values = tuple(wanted.values())
        with self._open() as connection:
            connection.execute(
                f"DELETE FROM costguard_feedback WHERE id IN (SELECT id FROM costguard_pairs WHERE {where})", values
            )
            return int(connection.execute(f"DELETE FROM costguard_pairs WHERE {where}", values).rowcount)

    def pairs(self) -> list[tuple[Pair, float | None]]:
        """All pairs, oldest first, each with the user's feedback (0..1, ``None``: none)."""
        columns = ", ".join(f"p.{name}" for name in _COLUMNS)
        with self._open() as connection:
            found = connection.execute(
                f"SELECT {columns}, f.quality FROM costguard_pairs p"
                " LEFT JOIN costguard_feedback f ON f.id = p.id ORDER BY p.time, p.id"
            ).fetchall()
        return [(_pair(row[:-1]), row[-1]) for row in found]

    def rows(self, *, compare: Compare | None = None) -> list[Row]:
        """What a router is trained on, oldest first; pairs about which nobody could say anything are left out.

        ``compare`` judges the answers anew (those that the log keeps).
        """
        return [row for pair, feedback in self.pairs() if (row := labelled_row(pair, feedback, compare)) is not None]

    def _labelled(self, pair: Pair) -> Pair:
        weak, strong = pair.weak_answer or "", pair.strong_answer or ""
        said = opinion(pair.prompt, weak, strong, self._compare)
        return replace(
            pair,
            prompt=self._written(pair.prompt),
            weak_answer=self._written(weak) if self._answers else None,
            strong_answer=self._written(strong) if self._answers else None,
            agree=agreement(weak, strong),
            weak=None if said is None else said[0],
            strong=None if said is None else said[1],
        )

    def _written(self, text: str) -> str:
        limit = self._max_characters
        if len(text) > 4 * limit:  # redacting a megabyte takes long, and most of it would be cut
            text = f"{text[: 2 * limit]}\n…\n{text[-2 * limit :]}"
        text = self._redact(text).encode("utf-8", "replace").decode()
        return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own: few are made, and none can be shared with a fork."""
        try:
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(self.path, timeout=5.0, isolation_level=None)) as connection:
                connection.execute("PRAGMA secure_delete = ON").fetchall()
                connection.execute("BEGIN IMMEDIATE")
                for statement in filter(str.strip, _TABLES.split(";")):
                    connection.execute(statement)
                yield connection
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"the prompt log {self.path} cannot be used: {error}") from error


def labelled_row(pair: Pair, feedback: float | None = None, compare: Compare | None = None) -> Row | None:
    """A pair as a training row, or ``None`` if nobody can say how good its answers are."""
    said = None if pair.weak is None or pair.strong is None else (pair.weak, pair.strong)
    if compare is not None and pair.weak_answer is not None and pair.strong_answer is not None:
        said = opinion(pair.prompt, pair.weak_answer, pair.strong_answer, compare)
    if said is None:
        return None
    weak, strong = qualities(said, Facts(pair.shown, pair.agree, pair.weak_ok, pair.strong_ok, feedback))
    return Row(pair.prompt, weak, strong, tag=pair.tag)


def _pair(row: Sequence[Any]) -> Pair:
    values = dict(zip(_NAMES, row, strict=True))
    for name in ("weak_ok", "strong_ok"):
        values[name] = None if values[name] is None else bool(values[name])
    return Pair(**values)


def _trim(connection: sqlite3.Connection, table: str, most: int) -> None:
    connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY time DESC, id DESC LIMIT -1 OFFSET ?)",
        (most,),
    )


def _storable(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _path(given: str | PathLike[str]) -> Path:
    text = os.fspath(given).removeprefix("sqlite:///")
    if not text or "://" in text:
        raise ConfigurationError(f"a prompt log is a file, not {text!r}")
    if text.endswith((".jsonl", ".json", ".gz")):
        raise ConfigurationError(
            f"a prompt log is a SQLite file, such as prompts.db, because it must be able to forget; "
            f"`costguard router rows` writes its rows to {text}"
        )
    return Path(text).expanduser().absolute()
