"""What the Redis store and its scripts say to each other: keys, requests and replies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from costguard_core.counters.base import Abandoned, Denial, Gate, GateState, Grant, Line, Placed, Reading, Settlement
from costguard_core.counters.redis.connection import Script
from costguard_core.errors import ConfigurationError

# The largest integer that a script, which counts in doubles, tells from the next one. In nano-dollars, $9.0 million.
LARGEST = 2**53 - 1
# For how many seconds an ended lease is remembered, so that settling it again does nothing, and late settles correct.
SETTLED_REMEMBERED = 3600
CHARGED_REMEMBERED = 86_400


def _script(name: str) -> Script:
    folder = files("costguard_core.counters.redis") / "lua"
    source = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


RESERVE, SETTLE, READ, READ_GATE, RESET = map(_script, ("reserve", "settle", "read", "read_gate", "reset"))


class Names:
    """Keys. One hash tag for all: Redis Cluster keeps them on one shard, where one script may use them together."""

    def __init__(self, prefix: str) -> None:
        if not prefix or set(prefix) & set("{}"):
            raise ConfigurationError(f"the prefix of a Redis store is a word without braces, not {prefix!r}")
        self._root = f"{{{prefix}}}:"
        self.trip = self._root + "trip"
        self.leases = self._root + "leases"
        self.scopes = self._root + "scopes"
        self.open_gates = self._root + "open-gates"

    def counter(self, key: str) -> str:
        return f"{self._root}counter:{key}"

    def gate(self, key: str) -> str:
        return f"{self._root}gate:{key}"

    def lease(self, id: str) -> str:
        return f"{self._root}lease:{id}"

    def claim(self, name: str) -> str:
        return f"{self._root}claim:{name}"


class Call(NamedTuple):
    """One script call. A function among ``args`` is asked at the moment of sending."""

    script: Script
    keys: list[str]
    args: list[Any]

    def words(self) -> list[Any]:
        return [len(self.keys), *self.keys, *self.args]


def reservation(
    names: Names,
    id: str,
    lines: Sequence[Line],
    gates: Sequence[Gate],
    *,
    lease: float,
    note: str,
    deadline: Callable[[], str],
) -> Call:
    request = {
        "id": id,
        "lease": lease,
        "lines": [_line(line) for line in lines],
        "gates": [_gate(gate) for gate in gates],
    }
    keys = [names.trip, names.leases, names.lease(id), names.scopes]
    keys += [names.counter(line.key) for line in lines] + [names.gate(gate.key) for gate in gates]
    return Call(RESERVE, keys, [json.dumps(request), note, names.lease(""), CHARGED_REMEMBERED, deadline])


def ending(names: Names, grant: Grant, amounts: Mapping[str, int], gates: Sequence[Gate]) -> Call:
    keys = [names.leases, names.lease(grant.id), names.open_gates]
    keys += [names.counter(line.key) for line in grant.placed] + [names.gate(gate.key) for gate in gates]
    spent = {unit: str(amount) for unit, amount in amounts.items()}
    placed = [{"bucket": f"{line.bucket:.17g}", "unit": line.unit} for line in grant.placed]
    parts = [json.dumps(part) for part in (spent, placed, [_gate(gate) for gate in gates])]
    return Call(SETTLE, keys, [grant.id, *parts, SETTLED_REMEMBERED])


def look(names: Names, lines: Sequence[Line]) -> Call:
    return Call(READ, [names.counter(line.key) for line in lines], [json.dumps([_window(line) for line in lines])])


def look_at_gate(names: Names, gate: Gate) -> Call:
    return Call(READ_GATE, [names.gate(gate.key)], [repr(gate.width)])


def as_bytes(reply: Any) -> Any:
    """A reply with every text as bytes: a ready-made client may have decoded them."""
    if isinstance(reply, str):
        return reply.encode()
    return [as_bytes(part) for part in reply] if isinstance(reply, list) else reply


def grant(reply: Any, lines: Sequence[Line], gates: Sequence[Gate]) -> Grant:
    _, at, id, buckets, probes, swept = reply
    placed, seen = [], set[str]()
    for line, bucket in zip(lines, buckets, strict=True):
        first = line.key not in seen
        placed.append(Placed(line.key, float(bucket), line.unit if first else "", line.amount if first else 0))
        seen.add(line.key)
    return Grant(id.decode(), float(at), tuple(placed), tuple(gates[i - 1].key for i in probes), _abandoned(swept))


def denial(reply: Any) -> Denial:
    _, _, reason, index, settled, held, retry_after, text, swept = reply
    patience = float(retry_after) if retry_after else None
    return Denial(reason.decode(), index, int(settled), int(held), patience, text.decode(), _abandoned(swept))


def settlement(reply: Any, gates: Sequence[Gate]) -> Settlement:
    _, _, totals, opened = reply
    return Settlement(tuple(map(int, totals)), tuple(gates[i - 1].key for i in opened))


def readings(reply: Any) -> list[Reading]:
    return [Reading(int(settled), int(held), float(frees) if frees else None) for settled, held, frees in reply[2]]


def gate_state(reply: Any) -> GateState:
    _, _, state, until, rate = reply
    return GateState(state.decode(), float(until) if until else None, int(rate))


def beginning_with(prefix: str) -> str:
    """A pattern for exactly that."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"


def _line(line: Line) -> dict[str, Any]:
    amounts = {"limit": _exact(line.limit), "amount": str(line.amount)}
    return {"key": line.key, "unit": line.unit, **amounts, **_window(line)}


def _window(line: Line) -> dict[str, Any]:
    return {"width": line.window.width, "edges": line.window.edges}


def _gate(gate: Gate) -> dict[str, Any]:
    return gate._asdict() | {"threshold": _exact(gate.threshold)}


def _exact(limit: int) -> str:
    if limit > LARGEST:
        raise ConfigurationError(
            f"a limit of {limit} is more than Redis can count exactly, which is {LARGEST} ($9.0 million): use a "
            "smaller limit, or a sqlite:// store"
        )
    return str(limit)


def _abandoned(swept: Any) -> tuple[Abandoned, ...]:
    return tuple(
        Abandoned(id.decode(), note.decode(), {unit: int(amount) for unit, amount in json.loads(amounts).items()})
        for id, note, amounts in swept
    )
