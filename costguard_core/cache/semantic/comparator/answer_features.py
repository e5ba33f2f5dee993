"""What an answer says: its informative words, numbers and names, and what it denies. English."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from costguard_core.cache.language import word_lists
from costguard_core.cache.semantic.comparator.values import plain_numbers
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, NEGATORS
from costguard_core.cache.semantic.rules.phrase import is_number, phrase, stem

_WORDS = word_lists.table("costguard_core.cache.semantic.comparator", "en/answers.txt")


def _stems(name: str) -> frozenset[str]:
    return frozenset(map(stem, _WORDS[name]))


_EMPTY = (FUNCTION_WORDS - set(_WORDS["informative_function_words"])) | set(_WORDS["contraction_rests"])
BOILERPLATE = _stems("boilerplate")  # stems
BOILERPLATE_ACTIONS = BOILERPLATE & _stems("boilerplate_actions")
_YES, _NO, _NOT_NAMES = (frozenset(_WORDS[name]) for name in ("yes", "no", "not_names"))
_SYMBOLS, DENIALS = word_lists.mapping(_WORDS["symbols"]), word_lists.mapping(_WORDS["denials"])
_SHORT_FORMS = {stem(short): stem(word) for short, word in word_lists.mapping(_WORDS["short_forms"]).items()}

_IDIOMS = re.compile(
    r"\bno (?:problem|worries|doubt|need to worry|matter what)s?\b(?: at all)?|\boh no\b|\bnot (?:only|to worry|sure)\b"
    r"|\b(?:do not|don't|don’t|never) (?:hesitate|worry|forget|mind)\b|\bno later than\b|\bif not\b|\bwhy not\b"
    r"|\bor not\b|\bwithout (?:any )?(?:problem|trouble|delay|doubt|further ado)s?\b"
    r"|\b(?:one|a) (?:moment|second|sec|minute)\b(?= ?(?:please|[.!,…]))",
    re.IGNORECASE,
)
_ENUMERATION = re.compile(r"^[ \t]*(?:(?:step\s+)?\(?\d{1,2}[.):]|[-*•–+#>]+)(?=\s)", re.MULTILINE | re.IGNORECASE)
_CODE = re.compile(r"`{3,}(?:[a-z0-9+#-]*\n)?([^`]+)`{3,}|`+([^`]+)`+|(\b[a-z_]\w*(?:\.\w+)+\([^()\n`]*\))")
# "Settings → Security", "File > Export > PDF": at most three words between two signs, with a capital first
_STEP = r"[A-Z][\w-]*(?: [\w&-]+){0,2}"
_PATH_SIGN = r"\s*(?:→|➔|\u203a|»|->|>)\s*"
_PATH = re.compile(rf"{_STEP}(?:{_PATH_SIGN}{_STEP})+")
_PATH_SIGNS = re.compile(_PATH_SIGN)
_NUMBERED = re.compile(r"^[ \t]*(?:step\s+)?\(?\d{1,2}[.):]\s+(.+)$", re.MULTILINE | re.IGNORECASE)
_MARKUP = re.compile(r"`{3,}[a-z0-9+#-]*(?=\n)|[*_`#>|]+")
_REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am|we'?re|we are)\s+)?(?:(?:really|very|so|terribly)\s+)?"
    r"(?:sorry|afraid|apologi[sz]e|unfortunately)?\W*(?:but|that|as an ai\b[^,]{0,40},)?\s*"
    r"(?:i|we)(?:\s+(?:can ?not|can't|could not|couldn't|won't)|(?:'m| am|'re| are) (?:unable to|not able to))\s+"
    r"(?:be able to\s+)?(?:help|assist|answer|comply|respond|provide that|do that|discuss|fulfil+)\b",
    re.IGNORECASE,
)
_FREE = re.compile(
    r" (?:(?:free of|without|no|at no|at no extra|no extra) (?:charge|cost|fee)s?|for free|(?:is|are|get in|enter) free"
    r"|costs? nothing|free admission"
    r"|(?:do|does|need) not (?:have to )?pay|not charged?|complimentary) "
)
_PAID = frozenset("pay pays paid price fee fees charge charges charged cost costs".split())
# A clause that begins with a word for a condition or a reason does not say what is so.
_CONDITION = (
    r"(?:if|unless|because|since|although|though|while|when|whenever|whether|who|which|whose|where|until|till"
    r"|so that|as long as|provided|in case)\b"
)
_CLAUSE_ENDS = re.compile(rf"[.!?;:,()\n—]+(?=\s|$)|\s[-–]\s|\s(?={_CONDITION})", re.IGNORECASE)
_SUBORDINATE = re.compile(rf"\s*{_CONDITION}", re.IGNORECASE)
_IF = re.compile(r"\b(?:if|unless)\s([^.?!;,\n]+)", re.IGNORECASE)
_NEGATION_SCOPE = 3  # informative words after a "not" that it denies; a choice
_MAX_SHORT_WORDS = 25  # in one or two sentences, a "no" speaks of the whole; a choice


@dataclass(frozen=True, slots=True)
class AnswerFeatures:
    """An answer as it is compared.

    Attributes:
        raw: as it was given.
        text: without markup, idioms and enumeration.
        words: of ``text``, in order.
        informative: stems of the words that can tell something.
        vocabulary: all words.
        numbers: in digits.
        code: what stands between backticks, and calls of methods, with single spaces.
        path: the ends of paths through menus ("Settings → Security"), lower case, of each the words.
        steps: of each numbered line the words.
        names: words written with a capital inside a sentence, lower case.
        denied: informative stems behind a "not".
        clauses: of each main clause the words.
        condition: the words behind "if" or "unless".
        opening: -1 for an answer that begins with no, 1 for one that begins with yes, else 0.
        is_negative: the main clauses say no.
        says_free, says_paid: it costs nothing; somebody pays.
    """

    raw: str
    text: str
    words: tuple[str, ...]
    informative: frozenset[str]
    vocabulary: frozenset[str]
    numbers: frozenset[str]
    code: frozenset[str]
    path: frozenset[tuple[str, ...]]
    steps: tuple[tuple[str, ...], ...]
    names: frozenset[str]
    denied: frozenset[str]
    clauses: tuple[tuple[str, ...], ...]
    condition: tuple[str, ...]
    opening: int
    is_negative: bool
    says_free: bool
    says_paid: bool

    @property
    def is_key_words(self) -> bool:
        """Whether it is key words and no sentence: "change gift card"."""
        return self.words != () and all(_is_word(word) and word not in _EMPTY - _NO for word in self.words)

    @property
    def is_short(self) -> bool:
        return len(self.words) <= _MAX_SHORT_WORDS


@lru_cache(maxsize=4096)
def answer_features(text: str) -> AnswerFeatures:
    """What an answer says."""
    plain = _MARKUP.sub(" ", _IDIOMS.sub(" ", _ENUMERATION.sub(" ", plain_numbers(text))))
    read = phrase(plain)
    words = tuple(_SYMBOLS.get(word, word) for word in read.words)
    clauses = tuple(_main_clauses(plain))
    informative = frozenset(
        answer_stem(word) for word in words if word not in _EMPTY and word not in NEGATORS and _is_word(word)
    )
    counted = {after for before, after in pairwise(words) if is_number(before)}  # "10 GB" is no name
    names = frozenset(
        name
        for name in (*read.names, *_capitals(text))
        if name not in counted | _NOT_NAMES and not name.endswith("ly") and answer_stem(name) not in BOILERPLATE
    )
    opening = _opening(words)
    free = _FREE.search(f" {' '.join(words)} ") is not None
    return AnswerFeatures(
        raw=text,
        text=plain,
        words=words,
        informative=informative,
        vocabulary=frozenset(words),
        numbers=frozenset(map(str, read.numbers)),
        code=frozenset(" ".join("".join(found).split()) for found in _CODE.findall(text)),
        path=frozenset(phrase(_PATH_SIGNS.split(found)[-1].split(" and ")[0]).words for found in _PATH.findall(text)),
        steps=tuple(phrase(line).words for line in _NUMBERED.findall(text)),
        names=names,
        denied=frozenset(_denied(words)),
        clauses=clauses,
        condition=tuple(word for found in _IF.findall(plain) for word in phrase(found).words),
        opening=opening,
        is_negative=_is_negative([word for clause in clauses for word in clause], opening),
        says_free=free,
        says_paid=not free and not _PAID.isdisjoint(words) and NEGATORS.isdisjoint(words),
    )


@lru_cache(maxsize=16384)
def answer_stem(word: str) -> str:
    """The stem of a word, of what it denies ("unable": "able"), or of what it is short for ("min": "minute")."""
    word = DENIALS.get(word, word)
    found = stem(word)
    return _SHORT_FORMS.get(found, found)


def _capitals(text: str) -> Iterator[str]:
    """ "IT" and "US", which are words without content in small letters."""
    return map(str.lower, _CAPITALS.findall("" if text.isupper() else text))


_CAPITALS = re.compile(r"\b(?:IT|US|WHO)\b")


def is_refusal(text: str) -> bool:
    """Whether it is a short "I'm sorry, I can't help with that" (English), which answers nothing."""
    return len(text.split()) <= _MAX_SHORT_WORDS and _REFUSAL.search(text.replace("’", "'")) is not None


def denied_words(answer: AnswerFeatures) -> Iterator[str]:
    """The words that follow a "not"."""
    for place, word in enumerate(answer.words):
        if word in NEGATORS and not (place == 0 and word == "no"):
            following = (one for one in answer.words[place + 1 :] if one not in _EMPTY and _is_word(one))
            yield from (found for _, found in zip(range(_NEGATION_SCOPE), following, strict=False))


def _is_word(word: str) -> bool:
    return word.lstrip("-")[:1].isalnum()


def _main_clauses(text: str) -> Iterator[tuple[str, ...]]:
    clauses = (phrase(clause).words for clause in _CLAUSE_ENDS.split(text) if not _SUBORDINATE.match(clause))
    return (words for words in clauses if words)


def _opening(words: Sequence[str]) -> int:
    """-1 for an answer that begins with no, 1 for one that begins with yes, else 0."""
    first = words[:3]
    return -1 if not _NO.isdisjoint(first) else 1 if not _YES.isdisjoint(first) else 0


def _is_negative(words: Sequence[str], opening: int) -> bool:
    rest = words[1:] if words[:1] and words[0] in _NO else words
    negated = sum(word in NEGATORS or word in DENIALS for word in rest)
    return negated % 2 == 1 or (opening < 0 and not negated)


def _denied(words: Sequence[str]) -> Iterator[str]:
    for place, word in enumerate(words):
        if word in NEGATORS and not (place == 0 and word == "no"):
            following = (answer_stem(one) for one in words[place + 1 :] if one not in _EMPTY and _is_word(one))
            in_scope = zip(range(_NEGATION_SCOPE), following, strict=False)
            yield from (found for _, found in in_scope if found not in BOILERPLATE)
        elif word in DENIALS:
            yield answer_stem(word)
