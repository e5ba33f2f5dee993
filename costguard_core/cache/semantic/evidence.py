"""Everything that one cache has learned: which answers are equal, how often entries were right, what may be
promised."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from costguard_core.cache.semantic.comparator.comparator import Comparator
from costguard_core.cache.semantic.decision import SIGNS, Neighbour, Verdict
from costguard_core.cache.semantic.index.base import Entry, Found
from costguard_core.cache.semantic.learning import Brake, Noise, OnlineLogistic, WordEvidence

# Where learning starts: the mean over public sets and two embedding models, rounded (docs/semantic.md says how). It
# only has to be roughly right: the brake keeps everything shut until the cache's own traffic has confirmed it.
PRIOR = (-0.9, 0.3, 0.5, 0.7, 1.0, 0.2, -0.5, 0.8, 0.5, -0.3, 0.5)
_SPREAD = 0.01
_FORMAT = 1
_MOST_ENTRIES, _MOST_PAIRS = 100_000, 20_000
_TRUSTED_NOISE = 0.02
_LABEL_SHARE_OF_ERROR = 0.75

assert len(PRIOR) == len(SIGNS)


class Counts(NamedTuple):
    """What happened to one entry."""

    right: int = 0
    wrong: int = 0
    served: int = 0
    saved: int = 0


class Label(NamedTuple):
    """What a fresh answer said about the would-be hit: ``right`` is ``None`` when it could not be told."""

    right: bool | None
    group: str
    noise: float = 0.0


class Evidence:
    """Learns from labels, says how sure a would-be hit is. Not thread-safe: the engine holds a lock."""

    def __init__(self, *, max_error: float, audit: float) -> None:
        self.model = OnlineLogistic(PRIOR, [_SPREAD] * len(PRIOR), forget=1.0)
        self.words, self.noise = WordEvidence(), Noise()
        self.brake = Brake(max_error, audit=audit)
        self.audits = {"right": 0, "wrong": 0}
        self.feedback = {"confirmed": 0, "refuted": 0}
        self._counts: OrderedDict[str, Counts] = OrderedDict()
        self._merged: OrderedDict[str, str] = OrderedDict()
        self._blocked: OrderedDict[str, list[str]] = OrderedDict()

    # What the decision asks

    @property
    def cut(self) -> float:
        return self.brake.cut

    def probability(self, signs: Sequence[float]) -> float:
        return self.model.probability(signs)

    def risk(self, words: Sequence[str]) -> float:
        return self.words.risk(words)

    def neighbour(self, found: Found, pair: str) -> Neighbour:
        """What is known about an entry that was found; ``pair`` names the question."""
        entry, counts = found.entry, self.counts(found.entry.id)
        blocked = entry.id in self._blocked.get(pair, ()) or pair in entry.refuted
        group = self.group(entry.group)
        return Neighbour(entry.id, entry.question, found.similarity, group, counts.right, counts.wrong, blocked)

    def counts(self, entry: str) -> Counts:
        return self._counts.get(entry, Counts())

    # Learning

    def compare(self, text: str, found: Sequence[Found], comparator: Comparator) -> dict[str, bool]:
        """Does the fresh answer agree with each stored one? Left out: what cannot be told."""
        told = ((one.entry.id, comparator(text, one.entry.text).same) for one in found)
        return {entry: same for entry, same in told if same is not None}

    def label(self, own: str, found: Sequence[Found], agreed: Mapping[str, bool], verdict: Verdict) -> Label:
        """Take a fresh answer into the groups, and judge the would-be hit by the majority of its group."""
        votes = self._votes(found, agreed)
        for yes, total in votes.values():
            self.noise.see(yes, total)
        best = verdict.neighbour
        mine = votes.get(self.group(best.group)) if best else None
        group = self._join(own, votes, best.group if best else None)
        if mine is None or 2 * mine[0] == mine[1]:
            return Label(None, group)
        return Label(2 * mine[0] > mine[1], group, self.noise.of_majority(mine[1]))

    def merge(self, found: Sequence[Found], agreed: Mapping[str, bool], comparator: Comparator, group: str) -> None:
        """Groups that a fresh answer belongs to both of are one, if their members say so too."""
        votes = self._votes(found, agreed)
        home = self.group(group)
        members = [one.entry for one in found if self.group(one.entry.group) == home]
        for other, (yes, total) in votes.items():
            if other != home and self._agrees(yes, total, sole=False):
                theirs = [one.entry for one in found if self.group(one.entry.group) == other]
                if self._one_group(members, theirs, comparator, yes, total):
                    self._merge(other, home)

    def learn(self, verdict: Verdict, label: Label, *, served: bool) -> None:
        """One label. ``served``: it would have been a hit and was checked (an audit)."""
        if label.right is None or verdict.neighbour is None:
            return
        self.count(verdict.neighbour.id, right=label.right)
        if served:
            self.audits["right" if label.right else "wrong"] += 1
        if verdict.probability is None or not verdict.signs:
            return
        if label.noise <= _LABEL_SHARE_OF_ERROR * self.brake.max_error:
            self.brake.learn(verdict.probability, right=label.right, served=served, noise=label.noise)
        self.model.learn(verdict.signs, right=label.right, weight=(1 - 2 * label.noise) ** 2)
        if verdict.differing:
            self.words.learn(verdict.differing, right=label.right)

    def count(self, entry: str, *, right: bool) -> None:
        known = self.counts(entry)
        self._remember(entry, known._replace(right=known.right + right, wrong=known.wrong + (not right)))

    def serve(self, entry: str, saved: int) -> None:
        known = self.counts(entry)
        self._remember(entry, known._replace(served=known.served + 1, saved=known.saved + saved))

    def block(self, pair: str, entry: str) -> None:
        """Never serve this entry for this question again."""
        entries = self._blocked.setdefault(pair, [])
        if entry not in entries:
            entries.append(entry)
        while len(self._blocked) > _MOST_PAIRS:
            self._blocked.popitem(last=False)

    def forget(self, entries: Sequence[str]) -> None:
        for entry in entries:
            self._counts.pop(entry, None)

    def group(self, name: str) -> str:
        """The group that a group was merged into, if it was."""
        while (into := self._merged.get(name)) is not None:
            name = into
        return name

    # Keeping

    def dump(self) -> str:
        return json.dumps(
            {
                "format": _FORMAT,
                "model": self.model.dump(),
                "words": self.words.dump(),
                "noise": self.noise.dump(),
                "brake": self.brake.dump(),
                "audits": self.audits,
                "feedback": self.feedback,
                "counts": {entry: list(counts) for entry, counts in self._counts.items()},
                "merged": dict(self._merged),
                "blocked": dict(self._blocked),
            },
            separators=(",", ":"),
        )

    def load(self, text: str) -> None:
        """Take over what :meth:`dump` wrote; ignored if another release wrote it.

        Raises:
            ValueError, TypeError, KeyError: damaged.
        """
        data: dict[str, Any] = json.loads(text)
        if data["format"] != _FORMAT:
            return
        self.model.load(data["model"])
        self.words.load(data["words"])
        self.noise.load(data["noise"])
        self.brake.load(data["brake"])
        self.audits.update(data["audits"])
        self.feedback.update(data["feedback"])
        self._counts = OrderedDict((entry, Counts(*counts)) for entry, counts in data["counts"].items())
        self._merged, self._blocked = OrderedDict(data["merged"]), OrderedDict(data["blocked"])

    # Inside

    def _votes(self, found: Sequence[Found], agreed: Mapping[str, bool]) -> dict[str, tuple[int, int]]:
        votes: dict[str, tuple[int, int]] = {}
        for one in found:
            if one.entry.id in agreed:
                group = self.group(one.entry.group)
                yes, total = votes.get(group, (0, 0))
                votes[group] = yes + agreed[one.entry.id], total + 1
        return votes

    def _join(self, own: str, votes: Mapping[str, tuple[int, int]], nearest: str | None) -> str:
        nearest = None if nearest is None else self.group(nearest)
        ranked = sorted(votes, key=lambda name: (-votes[name][0] / votes[name][1], -votes[name][0]))
        return next((name for name in ranked if self._agrees(*votes[name], sole=name == nearest)), own)

    def _agrees(self, yes: int, total: int, *, sole: bool) -> bool:
        """Most say so; where the comparator is known to err, one voice counts only for the candidate itself."""
        enough = 1 if sole or self.noise.rate < _TRUSTED_NOISE * 1.3 else 2
        return 2 * yes > total and yes >= enough

    def _one_group(
        self, ours: Sequence[Entry], theirs: Sequence[Entry], comparator: Comparator, yes: int, total: int
    ) -> bool:
        told = [comparator(a.text, b.text).same for a in ours for b in theirs]
        yes, total = yes + sum(same is True for same in told), total + len(told)
        return 3 * yes >= 2 * total and self._agrees(yes, total, sole=False)

    def _merge(self, group: str, into: str) -> None:
        if self.group(into) != group:
            self._merged[group] = into
            while len(self._merged) > _MOST_ENTRIES:
                self._merged.popitem(last=False)

    def _remember(self, entry: str, counts: Counts) -> None:
        self._counts[entry] = counts
        self._counts.move_to_end(entry)
        while len(self._counts) > _MOST_ENTRIES:
            self._counts.popitem(last=False)
