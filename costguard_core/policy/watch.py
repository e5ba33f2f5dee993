"""Taking over the changes of a policy file while the application runs."""

from __future__ import annotations

import logging
import threading
import tomllib
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple, Protocol
from weakref import ref

from costguard_core.errors import ConfigurationError
from costguard_core.policy.policy import Policy, load_policy
from costguard_core.util.forks import after_fork
from costguard_core.util.numbers import number

_log = logging.getLogger("costguard")

# Choices:
_WRITING = 0.1  # seconds for which a changed file must stay as it is
_MISSED = 2  # looks

_Texts = tuple[str | None, str | None]  # of the policy and of the price file that it names


class FixedChanges(NamedTuple):
    """What a changed policy says of settings that cannot change while the application runs.

    Attributes:
        places: stores and the like: nothing of the policy is followed.
        rest: what stays as it is, beside rules that are followed.
    """

    places: tuple[str, ...]
    rest: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join((*self.places, *self.rest))


def fixed_changes(new: Policy, old: Policy, given: Container[str] = ()) -> FixedChanges:
    """What of ``new`` takes a restart. Settings in ``given`` win over the file, which may say what it wants of them."""
    places = [name for name in ("store", "ledger", "lease") if new.options.get(name) != old.options.get(name)]
    rest = [name for name in ("cache", "proxy", "routers") if getattr(new, name) != getattr(old, name)]
    written, before = tomllib.loads(new.text), tomllib.loads(old.text)  # hooks are made anew each time
    rest += [name for name in ("hooks", "retention") if written.get(name) != before.get(name)]
    return FixedChanges(tuple(name for name in places if name not in given), tuple(rest))


class Follower(Protocol):
    """Who takes over changed rules."""

    def follow(self, policy: Policy) -> None: ...


class PolicyWatch:
    """Looks at a policy file from a thread of its own, in each process, for as long as its follower lives.

    A file that cannot be used is warned of once, and the old rules stay: also one that names another store, ledger or
    lease, because its budgets are meant for what is counted there, one that is gone, and one that is empty, as it is
    while somebody writes it. Of other settings that cannot change while the application runs (caches, the proxy,
    hooks) a restart is told. The price file that a policy names is looked at too.

    Args:
        policy: what the file said when it was read.
        follower: who takes over what it says later.
        every: seconds between two looks.

    Raises:
        ConfigurationError: ``every`` is no positive number.
    """

    _seen: _Texts

    def __init__(self, policy: Policy, follower: Follower, *, every: float = 2.0) -> None:
        assert policy.path is not None
        self._path: Path = policy.path.absolute()
        self._follower = ref(follower)
        self._every = number("watch", every, above=0)
        self._missed = 0  # looks in a row at which there was no file
        self._take(policy)
        self._start()
        after_fork(self, "_start")

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def look(self) -> bool:
        """Take over the file if it has changed and can be used; returns whether it was."""
        found, follower = self._texts(), self._follower()
        if found[0] is None:
            self._missed += 1
            if self._missed == _MISSED:  # one that is being replaced is there again at the next look
                _log.warning("costguard: the rules stay what they were, because %s cannot be read", self._path)
            return False
        self._missed = 0
        if found == self._seen or follower is None or self._is_being_written(found):
            return False
        self._seen = found
        try:
            if not found[0].strip() and self._policy.text.strip():
                raise ConfigurationError(f"{self._path} is empty")
            policy = load_policy(self._path)
            follower.follow(policy)
        except ConfigurationError as error:
            _log.warning(
                "costguard: the rules stay what they were, because the policy file cannot be followed:\n%s", error
            )
            return False
        _log.info("costguard: %s has changed and is followed", self._path)
        if rest := fixed_changes(policy, self._policy).rest:  # an argument wins over its places, if they changed
            _log.warning("costguard: a change of %s in %s takes a restart", ", ".join(rest), self._path)
        self._take(policy)
        return True

    def _take(self, policy: Policy) -> None:
        self._policy, self._price_file = policy, _price_file(policy)
        self._seen = (policy.text, _text(self._price_file))

    def _texts(self) -> _Texts:
        return _text(self._path), _text(self._price_file)

    def _is_being_written(self, found: _Texts) -> bool:
        """Whether the files change now: what is half written may be valid, and then without limits."""
        self._stopped.wait(_WRITING)
        return self._texts() != found

    def _start(self) -> None:
        self._stopped = threading.Event()
        threading.Thread(target=self._run, args=(self._stopped,), name="costguard-policy", daemon=True).start()

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._every) and self._follower() is not None:
            try:
                self.look()
            except Exception:
                _log.warning("costguard: the policy file could not be looked at", exc_info=True)


def _price_file(policy: Policy) -> Path | None:
    prices = policy.options.get("prices")
    return Path(prices).absolute() if isinstance(prices, str) else None


def _text(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
