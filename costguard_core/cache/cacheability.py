"""Questions whose answer must not be shared or must not be old, recognised by their words (English).

They read the question only, and err towards paying: a false alarm costs one call, a miss serves a wrong answer. Extend
them with ``CachePolicy(never_cache=(predicate, ...))``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

# In a long prompt (a document with a question) words like "today" belong to the document; the question is at an end.
_HEAD, _TAIL = 300, 300
# How many questions (of at most that length) are remembered, because reading one takes longer than a hit. A choice: at
# most some 5 MB.
_MOST_REMEMBERED = 4096

_DYNAMIC = re.compile(
    r"""
    \b(?: today(?:['’]s)? | tonight | yesterday | tomorrow | right\ now | at\ the\ moment | at\ present | as\ of\ now
      | just\ now | so\ far\ (?:today|this) | up[-\ ]to[-\ ]date | real[-\ ]?time | breaking\ news | currently
      | nowadays | these\ days
      | this\ (?:very\ )?(?:minute|hour|morning|afternoon|evening|week|weekend|month|quarter|year)
      | (?:next|last|past)\ (?:\d+\ )?(?:minute|hour|day|night|week|weekend|month|quarter|year)s?
      | (?:\d+\ )?(?:minute|hour|day|week)s?\ ago
    )\b
  | \b(?:latest|newest|most\ recent|current|live|up-to-the-minute|upcoming)\s+(?:\w+\s+){0,2}?
    (?:price|rate|cost|quote|stock|score|weather|temperature|forecast|news|headline|version|release|status|traffic
      |balance|time|date|day|year|exchange|value|president|minister|ceo|availability|wait|queue|standing|ranking|result
      |event|update|situation|number|figure|deal|offer|promotion|job|opening|outage)
  | \bwhat(?:['’]?s|\ is|\ was)?\ (?:the\ )?(?:time|date|day)\b(?!\ (?:complexity|format|type|zone|series|value))
  | \b(?:weather|forecast)\ (?:in|for|at|like)\b
  | \b(?:exchange\ rate|stock\ price|share\ price)s?\b
  | \b(?:is|are|was)\b[^.?!\n]{0,60}\b(?:now|still|already|yet)\s*\?
  | \b(?:now|lately|recently|soon)\s*\?
  | \bwho\ (?:is|are)\ winning\b | \bhow\ (?:late|old)\ (?:is\ it|am\ i)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)

_RECORD = (
    "order account balance invoice bill payment refund subscription booking reservation appointment package parcel "
    "shipment delivery ticket case claim claims transaction transactions statement address email e-mail phone card "
    "plan usage data profile cart purchase purchases history contract policy prescription result results score salary "
    "payslip pension mortgage loan credit limit points miles password username name birthday location calendar "
    "schedule "
    "meeting meetings inbox"
).split()
_OWNED = re.compile(rf"\b(?:my|our)\s+(?:\w+\s+){{0,2}}?(?:{'|'.join(_RECORD)})s?\b", re.IGNORECASE)
_ABOUT_ME = re.compile(
    r"\b(?:who|where|what|how\s+old)\s+am\s+i\b|\bwhat(?:['’]?s|\s+is)\s+my\b|\bhave\s+i\b|\bdid\s+i\b|\bdo\s+i\s+(?:have|owe)\b"
    r"|\bam\s+i\s+(?:eligible|entitled|enrolled|subscribed|charged)\b|\bwas\s+i\s+charged\b|\bremember\s+me\b",
    re.IGNORECASE,
)
# "How do I close my account?" has one answer for everybody; "Where is my order?" does not.
_HOW_TO = re.compile(
    r"\b(?:how\s+(?:do|can|could|should|would|might)\s+(?:i|we|one|you)|how\s+to|what\s+are\s+the\s+steps|steps\s+to"
    r"|(?:can|may|could)\s+i|is\s+it\s+possible\s+to)\b",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(
    r"""
    [\w.+-]+@[\w-]+\.\w{2,}
  | \b(?:order|invoice|ticket|case|booking|tracking|policy|customer|account|member|reference|ref|claim|parcel|shipment
      |confirmation|reservation|transaction|contract|user|patient|employee|request|incident|flight)
    (?:\s*(?:number|num|no\.?|nr\.?|id|code|\#))?\s*(?:is|:|=)?\s*\#?\s*[a-z]{0,6}[-_/]?\d{3,}
  | (?<![\w.])\+\d[\d\s().-]{7,}\d
  | (?<!\w)\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}\b
  | \b\d{3}-\d{2}-\d{4}\b
  | \b(?:\d{4}[\s-]){3}\d{1,7}\b
  | \b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){3,7}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


class Classification(NamedTuple):
    """What a question's words say about its answer.

    Attributes:
        dynamic: it changes with time: "now", "today's …", "latest …", "weather in …".
        personal: it belongs to who asks: "my order", "order 1182", an e-mail address, a phone number.
    """

    dynamic: bool
    personal: bool


def classify(question: str) -> Classification:
    """Whether the answer depends on the time, and whether on who asks."""
    if len(question) <= _HEAD + _TAIL:
        return _classified(question)
    return _classified(f"{question[:_HEAD]}\n{question[-_TAIL:]}")


def is_dynamic(question: str) -> bool:
    """See :class:`Classification`."""
    return classify(question).dynamic


def is_personal(question: str) -> bool:
    """See :class:`Classification`."""
    return classify(question).personal


@lru_cache(_MOST_REMEMBERED)
def _classified(text: str) -> Classification:
    about_them = _IDENTIFIER.search(text) or _ABOUT_ME.search(text)
    personal = about_them or (_OWNED.search(text) and not _HOW_TO.search(text))
    return Classification(_DYNAMIC.search(text) is not None, bool(personal))
