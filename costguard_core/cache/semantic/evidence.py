"""Everything that one cache has learned: which answers are equal, how often entries were right, what may be
promised."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple

from costguard_core.cache.semantic.comparator.comparator import Comparator
from costguard_core.cache.semantic.decision import FEATURES, Neighbour, Verdict
from costguard_core.cache.semantic.index.base import Entry, Found
from costguard_core.cache.semantic.learning import (
    ComparatorNoise,
    ErrorController,
    OnlineLogistic,
    VerifierRecord,
    WordEvidence,
    WordingRecord,
)
from costguard_core.cache.semantic.query import SemanticQuery, question_digest
from costguard_core.cache.semantic.written_score import WrittenRecord
from costguard_core.util.forks import renew_locks
from costguard_core.util.lru import LRUMap

# Where learning starts: the mean over public sets and two embedding models, rounded (docs/semantic.md says how). It
# only has to be roughly right: nothing is served until the cache's own traffic has confirmed it.
PRIOR_WEIGHTS = (-0.9, 0.3, 0.5, 0.7, 1.0, 0.2, -0.5, 0.8, 0.5, -0.3, 0.5, 0.0)
_PRIOR_VARIANCE = (
    *(0.01,) * (len(PRIOR_WEIGHTS) - 1),
    0.1,
)  # tuned on the same sets; what the rules say, the traffic shows
_FORMAT = 1
_SIMILARITY = 2  # counted up where similarities of the same questions change: what was learned from others is no use
_MAX_ENTRIES, _MAX_QUESTIONS = 100_000, 20_000  # what is remembered, about 20 MB at most
# A single comparison is believed only while the comparator errs on fewer than 2.6 % (tuned with noise of 5 %).
_TRUSTED_NOISE = 0.026
# A label counts for the promise only if its own error is well below the one that is promised. A choice.
_LABEL_SHARE_OF_ERROR = 0.75

assert len(PRIOR_WEIGHTS) == len(FEATURES)


class Counts(NamedTuple):
    """What happened to one entry: fresh answers that agreed with it and did not, hits, nano-dollars saved."""

    right: int = 0
    wrong: int = 0
    served: int = 0
    saved: int = 0


class Label(NamedTuple):
    """What a fresh answer said about the would-be hit.

    Attributes:
        right: ``None`` when it could not be told.
        group: the group of equal answers that the fresh one belongs to.
        noise: the chance that ``right`` is wrong.
    """

    right: bool | None
    group: str
    noise: float = 0.0


class Evidence:
    """Learns from labels and says how probable it is that a would-be hit is right.

    Not thread-safe: who uses it holds its ``lock``.

    Args:
        max_error, audit: see :class:`ErrorController`.
        z: standard deviations by which the promise must hold.
    """

    def __init__(self, *, max_error: float, audit: float, z: float = 1.15) -> None:
        self.lock = Lock()
        renew_locks(self, "lock")
        self.model = OnlineLogistic(PRIOR_WEIGHTS, _PRIOR_VARIANCE, forget=1.0)
        self.words, self.noise = WordEvidence(), ComparatorNoise()
        self.controller = ErrorController(max_error, audit=audit, z=z)
        self.wording, self.verifier = WordingRecord(max_error, audit=audit), VerifierRecord()
        self.written = WrittenRecord(max_error, audit=audit)
        self.audits = {"right": 0, "wrong": 0}
        self.feedback = {"confirmed": 0, "refuted": 0}
        self._counts: LRUMap[str, Counts] = LRUMap(_MAX_ENTRIES)
        self._merged: LRUMap[str, str] = LRUMap(_MAX_ENTRIES)  # group → the one it was merged into
        self._blocked: LRUMap[str, list[str]] = LRUMap(_MAX_QUESTIONS)  # question digest → entries
        self._doubts: LRUMap[str, int] = LRUMap(_MAX_ENTRIES)
        self._verdicts: LRUMap[str, bool] = LRUMap(_MAX_QUESTIONS)  # question digest and entry → what a verifier said

    # What the decision asks

    @property
    def cutoff(self) -> float:
        return self.controller.cutoff

    @property
    def close_from(self) -> float:
        return self.wording.similarity

    @property
    def written_from(self) -> float:
        return self.written.cut

    def probability(self, features: Sequence[float]) -> float:
        return self.model.probability(features)

    def word_risk(self, words: Sequence[str]) -> float:
        return self.words.risk(words)

    def neighbour(self, found: Found, question: str) -> Neighbour:
        """What is known about an entry that was found; ``question`` is the digest of the one asked."""
        entry, counts = found.entry, self.counts(found.entry.id)
        blocked = entry.id in self._blocked.get(question, ()) or question in entry.refuted
        group = self.group(entry.group)
        return Neighbour(
            entry.id,
            entry.question,
            found.similarity,
            group,
            counts.right,
            counts.wrong,
            blocked,
            entry.written,
            self._doubts.get(entry.id, 0),
            self.verdict(question, entry.id),
        )

    def neighbours(self, query: SemanticQuery, found: Sequence[Found]) -> list[Neighbour]:
        """:meth:`neighbour` of all that was found for a question."""
        question = question_digest(query)
        return [self.neighbour(one, question) for one in found]

    def counts(self, entry: str) -> Counts:
        return self._counts.get(entry, Counts())

    def verdict(self, question: str, entry: str) -> bool | None:
        """What a verifier said of this pair; ``question`` is a digest."""
        return self._verdicts.get(f"{question} {entry}")

    # Learning

    def remember_verdict(self, question: str, candidate: Verdict, *, same: bool) -> None:
        """Keep what a verifier said of a pair, and learn from it as far as it can be trusted."""
        if candidate.neighbour is None:
            return
        self._verdicts.put(f"{question} {candidate.neighbour.id}", same)
        sure = self.verifier.probability(candidate.probability or 0.0, said=same)
        if candidate.features:
            self.model.learn(candidate.features, right=sure > 0.5, weight=abs(2 * sure - 1))

    def learn_of_verifier(
        self, question: str, agreed: Mapping[str, bool], verdict: Verdict, *, audited_share: float | None
    ) -> None:
        """Compare what a verifier said with what the fresh answer says. ``verdict``: what would have been done."""
        served = verdict.neighbour if verdict.hit and verdict.basis == "verifier" else None
        for entry, right in agreed.items():
            said = self.verdict(question, entry)
            if said is not None:
                share = audited_share if served is not None and served.id == entry else None
                self.verifier.learn(said=said, right=right, audited_share=share)

    def compare(self, text: str, found: Sequence[Found], comparator: Comparator) -> dict[str, bool]:
        """Whether the fresh answer agrees with each stored one, by entry. Left out: what cannot be told."""
        results = ((one.entry.id, comparator(text, one.entry.text).same) for one in found)
        return {entry: same for entry, same in results if same is not None}

    def label(self, entry: str, found: Sequence[Found], agreed: Mapping[str, bool], verdict: Verdict) -> Label:
        """Take a fresh answer, stored as ``entry``, into the groups, and judge the would-be hit by the majority of
        its group."""
        votes = self._votes(found, agreed)
        for yes, total in votes.values():
            self.noise.observe(yes, total)
        best = verdict.neighbour
        own_votes = votes.get(self.group(best.group)) if best else None
        group = self._join(entry, votes, best.group if best else None)
        if own_votes is None or 2 * own_votes[0] == own_votes[1]:
            return Label(None, group)
        return Label(2 * own_votes[0] > own_votes[1], group, self.noise.of_majority(own_votes[1]))

    def merge(self, found: Sequence[Found], agreed: Mapping[str, bool], comparator: Comparator, group: str) -> None:
        """Merge the groups that a fresh answer belongs to both of, if their members say the same too."""
        votes = self._votes(found, agreed)
        home = self.group(group)
        members = [one.entry for one in found if self.group(one.entry.group) == home]
        for other, (yes, total) in votes.items():
            if other != home and self._agrees(yes, total, is_candidate=False):
                theirs = [one.entry for one in found if self.group(one.entry.group) == other]
                if self._is_one_group(members, theirs, comparator, yes, total):
                    self._merge(other, home)

    def learn(self, verdict: Verdict, label: Label, *, audited: bool, audited_share: float = 1.0) -> None:
        """One label. ``audited``: the verdict would have been a hit and was checked, as this share of such hits is."""
        if label.right is None or verdict.neighbour is None:
            return
        self.count(verdict.neighbour.id, right=label.right)
        if audited:
            self.audits["right" if label.right else "wrong"] += 1
        if verdict.probability is None or not verdict.features:
            return
        if verdict.is_close:
            by_wording = verdict.basis == "wording"  # also where a verifier denied what was to be checked
            share = audited_share if by_wording else None
            self.wording.learn(verdict.neighbour.similarity, right=label.right, audited_share=share)
            self._doubt(verdict.neighbour.id, right=label.right)
        if label.noise <= _LABEL_SHARE_OF_ERROR * self.controller.max_error:
            by_evidence = audited and verdict.basis == "evidence"
            self.controller.learn(verdict.probability, right=label.right, audited=by_evidence, noise=label.noise)
        self.model.learn(verdict.features, right=label.right, weight=(1 - 2 * label.noise) ** 2)
        if verdict.differing:
            self.words.learn(verdict.differing, right=label.right)

    def learn_known(self, verdict: Verdict, *, right: bool) -> None:
        """One label that is known beforehand, for the estimate only: of two written questions, do they have one
        answer?"""
        if verdict.features:
            self.model.learn(verdict.features, right=right)

    def promise_known(self, verdict: Verdict, *, right: bool) -> None:
        """The same label, for the promise: after :meth:`learn_known` of all of them."""
        if verdict.features:
            self.controller.learn(self.model.probability(verdict.features), right=right)
        if verdict.is_close and verdict.neighbour is not None:
            self.wording.learn(verdict.neighbour.similarity, right=right)

    def learn_written(self, verdict: Verdict, agreed: Mapping[str, bool], *, audited_share: float) -> None:
        """What a fresh answer said of the likeliest written one. ``audited_share``: a hit is audited this often."""
        if verdict.written is None or (right := agreed.get(verdict.written.neighbour.id)) is None:
            return
        is_hit = verdict.hit and verdict.basis == "wordings"
        self.written.learn(verdict.written.probability, right=right, audited_share=audited_share if is_hit else None)
        if is_hit:
            self._doubt(verdict.written.neighbour.id, right=right)

    def learn_feedback(self, verdict: Verdict, *, right: bool) -> None:
        """Somebody said whether a served answer was right."""
        if verdict.hit and verdict.written is not None and verdict.basis == "wordings":
            self.written.learn(verdict.written.probability, right=right)
        self.feedback["confirmed" if right else "refuted"] += 1
        if verdict.neighbour is not None:
            self.count(verdict.neighbour.id, right=right)
            self._doubt(verdict.neighbour.id, right=right)
        if verdict.features and verdict.probability is not None:
            self.model.learn(verdict.features, right=right)
            self.controller.learn(verdict.probability, right=right, audited=verdict.basis == "evidence")
        if verdict.is_close and verdict.neighbour is not None:
            share = self.wording.audit_share if verdict.basis == "wording" else None
            self.wording.learn(verdict.neighbour.similarity, right=right, audited_share=share)

    def count(self, entry: str, *, right: bool) -> None:
        known = self.counts(entry)
        self._counts.put(entry, known._replace(right=known.right + right, wrong=known.wrong + (not right)))

    def _doubt(self, entry: str, *, right: bool) -> None:
        self._doubts.put(entry, self._doubts.get(entry, 0) + (-1 if right else 1))

    def count_hit(self, entry: str, saved: int) -> None:
        """``saved`` is nano-dollars."""
        known = self.counts(entry)
        self._counts.put(entry, known._replace(served=known.served + 1, saved=known.saved + saved))

    def block(self, question: str, entry: str) -> None:
        """Never serve this entry to the question of that digest again."""
        entries = self._blocked.setdefault(question, [])
        if entry not in entries:
            entries.append(entry)

    def forget(self, entries: Sequence[str]) -> None:
        for entry in entries:
            self._counts.pop(entry)

    def group(self, name: str) -> str:
        """The group that a group was merged into, if it was."""
        while (into := self._merged.get(name)) is not None:
            name = into
        return name

    # Saving

    def dump(self, *, entries: bool = True) -> str:
        """JSON text for :meth:`load`. The names in it are those of format 1. Without ``entries``: nothing about single
        entries, for a cache that has others."""
        return json.dumps(
            {
                "format": _FORMAT,
                "similarity": _SIMILARITY,
                "model": self.model.dump(),
                "words": self.words.dump(),
                "noise": self.noise.dump(),
                "brake": self.controller.dump(),
                "audits": self.audits,
                "feedback": self.feedback,
                "counts": {entry: list(counts) for entry, counts in self._counts.items()} if entries else {},
                "merged": dict(self._merged.items()) if entries else {},
                "blocked": dict(self._blocked.items()) if entries else {},
                "doubts": dict(self._doubts.items()) if entries else {},
                "wording": self.wording.dump(),
                "verifier": self.verifier.dump(),
                "written": self.written.dump(),
                "verdicts": dict(self._verdicts.items()) if entries else {},
            },
            separators=(",", ":"),
        )

    def load(self, text: str) -> None:
        """Take over what :meth:`dump` wrote; ignored if another release wrote it. What older releases learned from
        similarities is learned again: they embedded whole questions, and counted audits otherwise.

        Raises:
            ValueError, TypeError, KeyError: damaged.
        """
        data: dict[str, Any] = json.loads(text)
        if data["format"] != _FORMAT:
            return
        if data.get("similarity") == _SIMILARITY:
            self.model.load(data["model"])
            self.controller.load(data["brake"])
            self.wording.load(data["wording"])
            if "written" in data:
                self.written.load(data["written"])
        self.words.load(data["words"])
        self.noise.load(data["noise"])
        self.audits.update(data["audits"])
        self.feedback.update(data["feedback"])
        for entry, counts in data["counts"].items():
            self._counts.put(entry, Counts(*counts))
        for group, into in data["merged"].items():
            self._merged.put(group, into)
        for question, entries in data["blocked"].items():
            self._blocked.put(question, entries)
        if "verifier" in data:  # older states have none
            for entry, doubts in data.get("doubts", {}).items():
                self._doubts.put(entry, doubts)
            self.verifier.load(data["verifier"])
            for pair, same in data["verdicts"].items():
                self._verdicts.put(pair, bool(same))

    # Inside

    def _votes(self, found: Sequence[Found], agreed: Mapping[str, bool]) -> dict[str, tuple[int, int]]:
        """By group: how many of its members the fresh answer agrees with, and of how many that could be told."""
        votes: dict[str, tuple[int, int]] = {}
        for one in found:
            if one.entry.id in agreed:
                group = self.group(one.entry.group)
                yes, total = votes.get(group, (0, 0))
                votes[group] = yes + agreed[one.entry.id], total + 1
        return votes

    def _join(self, own: str, votes: Mapping[str, tuple[int, int]], candidate: str | None) -> str:
        candidate = None if candidate is None else self.group(candidate)
        ranked = sorted(votes, key=lambda name: (-votes[name][0] / votes[name][1], -votes[name][0]))
        return next((name for name in ranked if self._agrees(*votes[name], is_candidate=name == candidate)), own)

    def _agrees(self, yes: int, total: int, *, is_candidate: bool) -> bool:
        """Most say so; where the comparator is known to err, one voice counts only for the candidate's own group."""
        enough = 1 if is_candidate or self.noise.rate < _TRUSTED_NOISE else 2
        return 2 * yes > total and yes >= enough

    def _is_one_group(
        self, ours: Sequence[Entry], theirs: Sequence[Entry], comparator: Comparator, yes: int, total: int
    ) -> bool:
        results = [comparator(a.text, b.text).same for a in ours for b in theirs]
        yes, total = yes + sum(same is True for same in results), total + len(results)
        return 3 * yes >= 2 * total and self._agrees(yes, total, is_candidate=False)

    def _merge(self, group: str, into: str) -> None:
        if self.group(into) != group:
            self._merged.put(group, into)
