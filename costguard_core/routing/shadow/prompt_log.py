"""The prompt log: a small SQLite file of questions that both models answered, which a router is trained on.

It is the only place where Costguard writes prompts down, so it exists only where somebody asked for it, holds no more
than it needs, and erases on request.
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
from typing import Any, TypeVar

from costguard_core.errors import ConfigurationError
from costguard_core.routing.learning.labels import Compare, Facts, agreement, opinion, qualities
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.shadow.redaction import redacted
from costguard_core.util.numbers import whole_number
from costguard_core.util.options import check_flag, check_function, check_kind, names_options

MAX_PAIRS = 5000  # training reads the newest 4,000
MAX_CHARACTERS = 10_000  # of each text; training reads 4,000 of them, at the two ends
_MIN_FEEDBACK = 1000  # opinions that are kept at least (a choice): users give theirs before the pair is complete
_BUSY_TIMEOUT = 5.0  # seconds to wait for another process that writes (SQLite's own default)
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
    """One question and the answers of both models.

    Attributes:
        id: of the call, as its decision says.
        time: when it was completed, unix seconds.
        prompt: what the user said last.
        weak_answer, strong_answer: the answers; ``None`` where the log keeps none.
        shown: the side that the user saw, ``"weak"`` or ``"strong"``; anything else is neither.
        tag: the call site.
        user, tenant, session: who asked, so that it can be erased.
        weak_model, strong_model: which models answered.
        weak_cost, strong_cost: nano-dollars; ``None``: unknown.
        weak_ok, strong_ok: whether the answers passed their check; ``None``: they were not checked.
        agree: 1 when both answers say the same, else 0. Filled in by the log.
        weak, strong: qualities of the answers, 0 to 1; ``None``: nobody could say. Filled in by the log.
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


V = TypeVar("V")
_RENAMED = {"user": "user_id", "session": "session_id"}
_NAMES = tuple(field.name for field in fields(Pair))
_COLUMNS = tuple(_RENAMED.get(name, name) for name in _NAMES)


@names_options
class PromptLog:
    """Paired answers in a SQLite file (mode 0600), shared by any number of threads and processes.

    It holds the question as the router reads it (the last thing that the user said), both answers, the call site, who
    asked (so that it can be erased), models, costs and verdicts. It does not hold system prompts, history, tools,
    parameters or headers; what looks like a credential is replaced.

    Args:
        path: the file, or ``sqlite:///path``; made when missing.
        compare: says how good two answers are (:mod:`costguard_core.routing.learning.labels`); called once per pair, in
            the background.
        max_pairs: when there are more, the oldest go.
        max_characters: of each text; the middle of a longer one is left out.
        answers: keep the answers too, so that pairs can be judged again when a router is trained.
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
        check_kind("path", path, (str, PathLike), 'a file such as "prompts.db"')
        check_function("compare", compare, "a function (prompt, weak, strong) of two qualities")
        check_function("redact", redact, "a function of a text")
        self.path = _path(path)
        self._compare, self._answers, self._redact = compare, answers, redact
        self._max_pairs, self._max_characters, self.clock = max_pairs, max_characters, clock
        whole_number("max_pairs", max_pairs, at_least=1)
        whole_number("max_characters", max_characters, at_least=100)
        check_flag("answers", answers)
        with self._open():
            pass

    @staticmethod
    def is_at(path: str | PathLike[str]) -> bool:
        """Whether the file is a prompt log already. It is only read."""
        try:
            read_only = f"{_path(path).as_uri()}?mode=ro"
            with closing(sqlite3.connect(read_only, uri=True, timeout=_BUSY_TIMEOUT)) as connection:
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
        """Label pairs and write them. The answers must be there, whether they are kept or not.

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
        """Record what the user thinks of the answer that they saw. It may come before the pair does.

        Args:
            id: of the call, from its decision.
            quality: 0 (bad) to 1 (good).

        Raises:
            ConfigurationError: not a number from 0 to 1, or the file cannot be used.
        """
        if not 0 <= quality <= 1:
            raise ConfigurationError(f"a quality is 0 (bad) to 1 (good), not {quality!r}")
        with self._open() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO costguard_feedback VALUES (?, ?, ?)", (id, self.clock(), float(quality))
            )
            _trim(connection, "costguard_feedback", max(self._max_pairs, _MIN_FEEDBACK))

    def forget(self, *, user: str | None = None, tenant: str | None = None, session: str | None = None) -> int:
        """Erase what a user, a tenant or a session asked (pairs that match all that are named).

        The bytes are overwritten in the file, not only marked as free. Backups are not touched.

        Returns:
            How many pairs were erased.

        Raises:
            ConfigurationError: nobody is named, or the file cannot be used.
        """
        named = {"user_id": user, "tenant": tenant, "session_id": session}
        wanted = {name: value for name, value in named.items() if value is not None}
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

        Args:
            compare: judges the answers that the log keeps again.
        """
        return [row for pair, feedback in self.pairs() if (row := labelled_row(pair, feedback, compare)) is not None]

    def _labelled(self, pair: Pair) -> Pair:
        weak, strong = pair.weak_answer or "", pair.strong_answer or ""
        compared = opinion(pair.prompt, weak, strong, self._compare)
        return replace(
            pair,
            prompt=self._written(pair.prompt),
            weak_answer=self._written(weak) if self._answers else None,
            strong_answer=self._written(strong) if self._answers else None,
            agree=agreement(weak, strong),
            weak=None if compared is None else compared[0],
            strong=None if compared is None else compared[1],
        )

    def _written(self, text: str) -> str:
        limit = self._max_characters
        if len(text) > 4 * limit:  # redacting a megabyte takes long, and most of it would be cut
            text = f"{text[: 2 * limit]}\n…\n{text[-2 * limit :]}"
        text = self._redact(text).encode("utf-8", "replace").decode()
        return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction on a new connection: there are few, and a connection must not be used after a fork."""
        try:
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT, isolation_level=None)) as connection:
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
    compared = None if pair.weak is None or pair.strong is None else (pair.weak, pair.strong)
    if compare is not None and pair.weak_answer is not None and pair.strong_answer is not None:
        compared = opinion(pair.prompt, pair.weak_answer, pair.strong_answer, compare)
    if compared is None:
        return None
    weak, strong = qualities(compared, Facts(pair.shown, pair.agree, pair.weak_ok, pair.strong_ok, feedback))
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


def _storable(value: V) -> V | str:
    """Text without halves of surrogate pairs, which SQLite refuses."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _path(location: str | PathLike[str]) -> Path:
    text = os.fspath(location).removeprefix("sqlite:///")
    if not text or "://" in text:
        raise ConfigurationError(f"a prompt log is a file, not {text!r}")
    if text.endswith((".jsonl", ".json", ".gz")):
        raise ConfigurationError(
            f"a prompt log is a SQLite file, such as prompts.db, because it must be able to forget; "
            f"`costguard router rows` writes its rows to {text}"
        )
    return Path(text).expanduser().absolute()
