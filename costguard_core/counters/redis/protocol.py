"""What the Redis store and its scripts say to each other: keys, requests and replies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from costguard_core.counters.base import (
    CHARGED_REMEMBERED,
    MOST_GRANTED,
    REMEMBERED,
    Abandoned,
    Denial,
    Gate,
    GateState,
    Grant,
    GrantedLimit,
    Line,
    Placed,
    Reading,
    Settlement,
)
from costguard_core.counters.granted import read_granted, write_granted
from costguard_core.counters.redis.connection import Reply, Script, Word
from costguard_core.errors import ConfigurationError

# The largest integer that a script, which counts in doubles, tells from the next one. In nano-dollars, $9.0 million.
LARGEST = 2**53 - 1


def _script(name: str) -> Script:
    folder = files("costguard_core.counters.redis") / "lua"
    source = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


RESERVE, SETTLE, READ, READ_GATE, RESET, SERVER, GRANTED = map(
    _script, ("reserve", "settle", "read", "read_gate", "reset", "server", "granted")
)


class Keys:
    """The names of all keys of one prefix.

    One hash tag for all: Redis Cluster keeps them on one shard, where one script may use them together.
    """

    def __init__(self, prefix: str) -> None:
        if not prefix or set(prefix) & set("{}"):
            raise ConfigurationError(f"the prefix of a Redis store is a word without braces, not {prefix!r}")
        self._root = f"{{{prefix}}}:"
        self.trip = self._root + "trip"
        self.leases = self._root + "leases"
        self.scopes = self._root + "scopes"
        self.epoch = self._root + "epoch"
        self.open_gates = self._root + "gates"
        self.open_gates_before = self._root + "open-gates"  # a set, in which gates of users who left stayed for ever
        self.granted = self._root + "granted"
        self.controls = self._root + "controls"

    def counter(self, key: str) -> str:
        return f"{self._root}counter:{key}"

    def gate(self, key: str) -> str:
        return f"{self._root}gate:{key}"

    def lease(self, id: str) -> str:
        return f"{self._root}lease:{id}"

    def claim(self, name: str) -> str:
        return f"{self._root}claim:{name}"


class ScriptCall(NamedTuple):
    """One script call. A function among ``args`` is asked at the moment of sending."""

    script: Script
    keys: list[str]
    args: list[Word]

    def words(self) -> list[Word]:
        return [len(self.keys), *self.keys, *self.args]


def reserve_call(
    keys: Keys,
    id: str,
    lines: Sequence[Line],
    gates: Sequence[Gate],
    *,
    lease: float,
    note: str,
    deadline: Callable[[], str],
) -> ScriptCall:
    request = {
        "id": id,
        "lease": lease,
        "lines": [_line(line) for line in lines],
        "gates": [_gate(gate) for gate in gates],
    }
    names = [keys.trip, keys.leases, keys.lease(id), keys.scopes, keys.epoch, keys.granted, keys.controls]
    names += [keys.counter(line.key) for line in lines] + [keys.gate(gate.key) for gate in gates]
    return ScriptCall(RESERVE, names, [json.dumps(request), note, keys.lease(""), int(CHARGED_REMEMBERED), deadline])


def settle_call(keys: Keys, grant: Grant, amounts: Mapping[str, int], gates: Sequence[Gate]) -> ScriptCall:
    names = [keys.leases, keys.lease(grant.id), keys.open_gates]
    names += [keys.counter(line.key) for line in grant.placed] + [keys.gate(gate.key) for gate in gates]
    spent = {unit: str(amount) for unit, amount in amounts.items()}
    placed = [{"bucket": f"{line.bucket:.17g}", "unit": line.unit} for line in grant.placed]
    parts = [json.dumps(part) for part in (spent, placed, [_gate(gate) for gate in gates])]
    return ScriptCall(SETTLE, names, [grant.id, *parts, int(REMEMBERED), repr(grant.at)])


def give_back_call(keys: Keys, id: str, now: float) -> ScriptCall:
    """End a reservation that may have been made, at nothing. The server knows what it holds; we do not."""
    return settle_call(keys, Grant(id, now, ()), {}, ())


def read_call(keys: Keys, lines: Sequence[Line]) -> ScriptCall:
    return ScriptCall(READ, [keys.counter(line.key) for line in lines], [json.dumps([_window(line) for line in lines])])


def read_gate_call(keys: Keys, gate: Gate) -> ScriptCall:
    return ScriptCall(READ_GATE, [keys.gate(gate.key)], [repr(gate.width)])


def grant_limit_call(keys: Keys, granted: GrantedLimit) -> ScriptCall:
    _exact(granted.amount)
    return ScriptCall(GRANTED, [keys.granted], ["grant", granted.key, write_granted(granted), MOST_GRANTED])


def revoke_limit_call(keys: Keys, key: str) -> ScriptCall:
    return ScriptCall(GRANTED, [keys.granted], ["revoke", key])


def forget_limits_call(keys: Keys, over: Sequence[str]) -> ScriptCall:
    return ScriptCall(GRANTED, [keys.granted], ["forget", *over])


def scanned_values(page: Reply) -> list[bytes]:
    """The values in a reply to HSCAN: a mapping where redis-py read it, names and values in turn otherwise."""
    values = page.values() if isinstance(page, dict) else page[1::2]
    return [as_bytes(value) for value in values]


def reset_call(keys: Keys) -> ScriptCall:
    return ScriptCall(RESET, [keys.trip, keys.open_gates, keys.open_gates_before], [])


def server_call(keys: Keys) -> ScriptCall:
    return ScriptCall(SERVER, [keys.epoch], [])


def as_bytes(reply: Reply) -> Reply:
    """A reply with every text as bytes: a ready-made client may have decoded them."""
    if isinstance(reply, str):
        return reply.encode()
    return [as_bytes(part) for part in reply] if isinstance(reply, list) else reply


def grant(reply: Reply, lines: Sequence[Line], gates: Sequence[Gate]) -> Grant:
    _, at, _, id, buckets, probes, swept, limits, controls = reply
    placed, seen = [], set[str]()
    for line, bucket in zip(lines, buckets, strict=True):
        first = line.key not in seen
        placed.append(Placed(line.key, float(bucket), line.unit if first else "", line.amount if first else 0))
        seen.add(line.key)
    probing = tuple(gates[i - 1].key for i in probes)
    held_to = tuple([(index, int(limit)) for index, limit in limits])
    return Grant(id.decode(), float(at), tuple(placed), probing, _abandoned(swept), held_to, controls.decode())


def denial(reply: Reply) -> Denial:
    _, _, _, reason, index, settled, held, retry_after, text, swept, limit, controls = reply
    return Denial(
        reason.decode(),
        index,
        int(settled),
        int(held),
        float(retry_after) if retry_after else None,
        text.decode(),
        _abandoned(swept),
        int(limit) if limit else None,
        controls.decode(),
    )


def granted_limit(reply: Reply) -> GrantedLimit | None:
    return read_granted(reply[2]) if reply[2] else None


def settlement(reply: Reply, gates: Sequence[Gate]) -> Settlement:
    _, _, totals, opened = reply
    return Settlement(tuple(map(int, totals)), tuple(gates[i - 1].key for i in opened))


def readings(reply: Reply) -> list[Reading]:
    return [Reading(int(settled), int(held), float(frees) if frees else None) for settled, held, frees in reply[2]]


def gate_state(reply: Reply) -> GateState:
    _, _, state, until, rate = reply
    return GateState(state.decode(), float(until) if until else None, int(rate))


def gates_closed(reply: Reply) -> int:
    """How many gates a step of a reset has closed; with none, it is over."""
    return int(reply[2])


def eviction_policy(reply: Reply) -> str:
    """The server's ``maxmemory-policy``; empty where it does not say."""
    _, _, policy = reply
    return str(policy.decode())


def pattern_of(prefix: str) -> str:
    """The pattern of names that begin with ``prefix``."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"


def _line(line: Line) -> dict[str, object]:
    amounts = {"limit": _exact(line.limit), "amount": str(line.amount)}
    return {"key": line.key, "unit": line.unit, **amounts, **_window(line)}


def _window(line: Line) -> dict[str, object]:
    return {"width": line.window.width, "edges": line.window.edges}


def _gate(gate: Gate) -> dict[str, object]:
    return gate._asdict() | {"threshold": _exact(gate.threshold)}


def _exact(limit: int) -> str:
    if limit > LARGEST:
        raise ConfigurationError(
            f"a limit of {limit} is more than Redis can count exactly, which is {LARGEST} ($9.0 million): use a "
            "smaller limit, or a sqlite:// store"
        )
    return str(limit)


def _abandoned(swept: Reply) -> tuple[Abandoned, ...]:
    return tuple(
        Abandoned(id.decode(), note.decode(), {unit: int(amount) for unit, amount in json.loads(amounts).items()})
        for id, note, amounts in swept
    )
