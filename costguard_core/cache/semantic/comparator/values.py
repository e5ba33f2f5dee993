"""Numbers, times of day and dates of an answer in one spelling: "half of the", "75 cents", "9:30 pm", "4 May 2024"."""

from __future__ import annotations

import re
from decimal import Decimal, DivisionByZero, InvalidOperation
from functools import lru_cache, partial
from typing import NamedTuple

from costguard_core.cache.semantic.rules.phrase import phrase

_FRACTION = re.compile(r"(?<![\d/.,])(\d+)\s*/\s*(\d+)(?![\d/])")
_COUNT = "one|two|three|four|five|six|seven|eight|nine|ten"
_AND_A_HALF = re.compile(rf"\b(an?|{_COUNT}|\d{{1,9}}) (\w+?)s? and an? (half|quarter)\b")
_AND_A_HALF_OF = re.compile(rf"\b({_COUNT}|eleven|twelve|\d{{1,9}}) and an? (half|quarter) (?=[a-z])", re.IGNORECASE)
_HALF_AN = re.compile(
    r"\b(half|quarter) (?:of )?an? (minute|hour|day|year|mile|kilo|dozen|pound|liter|litre|teaspoon|cup)\b"
)
_SUMS = tuple(
    (re.compile(rf"\b(\d{{1,3}}|an?|one) ?(?:{larger}),?(?: and)? (\d{{1,2}}) ?(?:{smaller})\b", re.IGNORECASE), unit)
    for larger, smaller, unit in (
        ("hours?|hrs?|h", "minutes?|mins?|m", "minutes"),
        ("minutes?|mins?", "seconds?|secs?", "seconds"),
    )
)
_ONE_OF = re.compile(
    r"\b(about|around|roughly|approximately|within|for|in|least|most|after|than) an? (hour|day|week|month|year)\b"
)
_MEASURE = re.compile(
    r"\ban? ((?:table|tea)spoon|cup|pint|lit(?:re|er)|gallon|pound|kilo|gram|ounce|dozen)(?= of\b)", re.IGNORECASE
)
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))?\s*([ap])\.?\s?m\b\.?|\b([01]?\d|2[0-3]):([0-5]\d)\b", re.IGNORECASE)
_SPOKEN_CLOCK = re.compile(r"\b(\d{1,2}) (?:o'?clock )?in the (morning|afternoon|evening)\b")
_HOUR = rf"{_COUNT}|eleven|twelve|\d{{1,2}}"
_SPOKEN = re.compile(
    rf"\b(?:an? )?(?P<part>half|quarter) (?P<side>past|to|after|before) (?P<hour>{_HOUR})\b"
    r"(?: (?:o'?clock )?(?:in the )?(?P<day>morning|afternoon|evening|[ap]\.?m\b\.?))?",
    re.IGNORECASE,
)
_NOON = re.compile(r"\b(?:12 )?(noon|midday|midnight)\b", re.IGNORECASE)
_ONE_IN = re.compile(  # not "the first one in five minutes"
    rf"\b(one|two|three|\d{{1,2}}) (?:in|out of) (?:every )?({_HOUR}|20|50|100)\b"
    r"(?! (?:second|minute|hour|day|week|month|year)s?\b)",
    re.IGNORECASE,
)
_SMALL = {
    word: number
    for number, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())
} | {"a": 1, "an": 1}
_PARTS = {"half": Decimal("0.5"), "quarter": Decimal("0.25")}
_PART_OF = re.compile(  # not "the third of the month"
    r"\b(?:(one|an?|two|three) |(?=hal))(hal(?:f|ves)|quarters?|thirds?|fifths?|tenths?) "
    r"(?:of (?=[a-z])|(?=(?:the|all)\b))",
    re.IGNORECASE,
)
_TOGETHER = {"half": 2, "halves": 2, "quarter": 4, "third": 3, "fifth": 5, "tenth": 10}
_TIMES = re.compile(r"\b(once|twice)(?= (?:an?|each|every|per|daily|weekly|monthly|yearly|in)\b)", re.IGNORECASE)
_THIRDS = re.compile(r"\b(33[.,]3+|66[.,][67]+) ?(?=%|per ?cent\b)")
# Beside a sign of a calculation a number is no version, which "4.80" may be elsewhere.
_CALCULATED = re.compile(r"([=×÷*/+−#{]\s*\d{1,15}\.\d{0,9}?)0+(?![\d.]*\d)|(\d{1,15}\.\d{0,9}?)0+(?=\s*[=×÷*/+−])")
_DAY = "Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun"
_DAYS = re.compile(rf"\b({_DAY})\.?(\s?[–-]\s?)({_DAY})\b\.?")
_FULL_DAYS = {name[:3]: name for name in "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()}
_VERSION_SIGN = re.compile(r"\bv\.?\s?(?=\d+\.\d)", re.IGNORECASE)
_METRES = re.compile(  # elsewhere "5 m" may be five millions
    r"\b(\d{1,9}(?:\.\d{1,9})?) ?m(?= (?:long|wide|high|tall|deep|thick|away|apart|by)\b| ?[×x] ?\d)", re.IGNORECASE
)
_RATIO = re.compile(r"(?<![\d:])(\d{1,4})\s*:\s*(\d{1,4})(?![\d:])")
_FOR_EVERY = re.compile(rf"\b({_HOUR}) (?P<some>\w+ )?(?:for|to) every ({_HOUR})\b", re.IGNORECASE)
_CENTS = re.compile(r"\b(\d{1,9}(?:\.\d{1,9})?) ?(?:(?:euro )?cents?\b|¢|pence\b)", re.IGNORECASE)
_FAHRENHEIT = re.compile(
    r"(?<!\d)(-?\d{1,9}(?:\.\d{1,9})?) ?(?:° ?F\b|° ?Fahrenheit|degrees? F(?:ahrenheit)?\b|Fahrenheit)", re.IGNORECASE
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        "january february march april may june july august september october november december".split(), start=1
    )
}
_MONTHS |= {name[:3]: number for name, number in _MONTHS.items()} | {"sept": 9}
_MONTH = "|".join(sorted((name.capitalize() for name in _MONTHS), key=len, reverse=True))  # "may" is a verb
_DATE = re.compile(
    r"\b(?P<iso>\d{4})-(?P<iso_month>\d{2})-(?P<iso_day>\d{2})\b"
    r"|(?<![\d.])(?P<dot_day>\d{1,2})\.(?P<dot_month>\d{1,2})\.(?P<dot>\d{4})\b"
    r"|(?<![\d/])(?P<first>\d{1,2})/(?P<second>\d{1,2})/(?P<slash>\d{4})\b"
    rf"|\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})\b\.?(?:,? (?P<year>\d{{4}})\b)?"
    rf"|\b(?P<us_month>{_MONTH})\b\.? (?P<us_day>\d{{1,2}})(?!\d)(?:st|nd|rd|th)?(?:,? (?P<us>\d{{4}})\b)?"
)


class Date(NamedTuple):
    """A day; ``year`` is ``None`` where it is not said."""

    month: int
    day: int
    year: int | None


@lru_cache(maxsize=2048)
def plain_numbers(text: str) -> str:
    """``1/2`` as 0.5, "an hour and a half" and "one and a half hours" as 1.5 hours, "half an hour" as 0.5 hours,
    "1 hour 30 minutes" as 90 minutes, "1 minute 30 seconds" as 90 seconds, "within a day" as within 1 day, "twice a" as
    2 times a, "9:30 pm" as 21:30, "half of" as 50 percent of, "75 cents" as 0.75, "212 °F" as 100 °C, "4 May 2024" and
    "2024-05-04" as date0504 2024."""
    text = _DAYS.sub(lambda found: f"{_FULL_DAYS[found[1][:3]]}{found[2]}{_FULL_DAYS[found[3][:3]]}", text)
    text = _METRES.sub(r"\1 metres", text)
    text = _VERSION_SIGN.sub("version ", _without_ratios(text))
    text = _CALCULATED.sub(lambda found: (found.group(1) or found.group(2)).removesuffix("."), text)
    text = _ONE_IN.sub(_one_in, _DATE.sub(_plain_date, text))
    text = _in_digits(text)
    text = _CLOCK.sub(_on_24_hours, text)
    for pattern, unit in _SUMS:
        text = pattern.sub(partial(_in_smaller, unit), text)
    text = _AND_A_HALF.sub(_with_part, text)
    text = _AND_A_HALF_OF.sub(_with_part_before, text)
    text = _HALF_AN.sub(lambda found: f"{_PARTS[found.group(1)]} {found.group(2)}s", text)
    text = _PART_OF.sub(_percent_of, text)
    text = _TIMES.sub(lambda found: "1 time" if found.group(1).lower() == "once" else "2 times", text)
    text = _THIRDS.sub(lambda found: "33 " if found.group(1).startswith("33") else "67 ", text)
    text = _CENTS.sub(lambda found: format(Decimal(found.group(1)) / 100, "f"), text)
    text = _FAHRENHEIT.sub(lambda found: f"{round((Decimal(found.group(1)) - 32) / Decimal('1.8'))} °C", text)
    text = _MEASURE.sub(r"1 \1", _ONE_OF.sub(r"\1 1 \2", text))
    return _FRACTION.sub(_quotient, text)


@lru_cache(maxsize=2048)
def clock_times(text: str) -> frozenset[int]:
    """The times of day that it names, in minutes since midnight."""
    text = _in_digits(_without_ratios(text))
    found = {_minutes(*groups) for groups in _CLOCK.findall(text)}
    words = " ".join(phrase(text).words)
    for hour, part in _SPOKEN_CLOCK.findall(words):
        found.add(60 * (int(hour) % 12 + (0 if part == "morning" else 12)))
    return frozenset(0 if time == _LAST_MINUTE else time for time in found if time is not None)


_LAST_MINUTE = 24 * 60 - 1  # "until 11:59 pm" is until midnight


def is_vague(text: str) -> bool:
    """Whether it names a time of day that may be in the morning or in the afternoon: "half past two"."""
    return any(found["day"] is None for found in _SPOKEN.finditer(text))


def _without_ratios(text: str) -> str:
    """ "The ratio is 18:24" as "18 to 24", which is no time of day; "three for every four" as 3 to 4."""
    text = _FOR_EVERY.sub(lambda found: f"{_whole(found[1])} {found['some'] or ''}to {_whole(found[3])}", text)
    return _RATIO.sub(r"\1 to \2", text) if "ratio" in text.lower() else text


def _in_digits(text: str) -> str:
    """Times of day in words as on a clock: "noon", "half past two"."""
    text = _NOON.sub(lambda found: "0:00" if found.group(1).lower() == "midnight" else "12:00", text)
    return _SPOKEN.sub(_spoken_time, text)


def _spoken_time(found: re.Match[str]) -> str:
    """ "A quarter past four in the afternoon" as 16:15."""
    away = 30 if found["part"].lower() == "half" else 15
    away = away if found["side"].lower() in ("past", "after") else -away
    minutes = (60 * _whole(found["hour"]) + away) % 720
    day = (found["day"] or "").lower()
    minutes += 720 if day and not day.startswith(("a.", "am", "morning")) else 0
    return f"{minutes // 60}:{minutes % 60:02d}"


def _one_in(found: re.Match[str]) -> str:
    """ "One in four" as 25 percent."""
    some, all_ = map(_whole, found.groups())
    return f"{round(Decimal(100 * some) / all_)} percent of" if some < all_ else found.group()


def _with_part(found: re.Match[str]) -> str:
    number, unit, part = found.groups()
    return f"{_whole(number) + _PARTS[part]} {unit}s"


def _with_part_before(found: re.Match[str]) -> str:
    number, part = found.groups()
    return f"{_whole(number) + _PARTS[part.lower()]} "


def _in_smaller(unit: str, found: re.Match[str]) -> str:
    """ "1 hour 30 minutes" as 90 minutes."""
    return f"{60 * _whole(found.group(1)) + int(found.group(2))} {unit}"


def _whole(word: str) -> int:
    return _SMALL.get(word.lower()) or int(word)


def _on_24_hours(found: re.Match[str]) -> str:
    minutes = _minutes(*found.groups())
    return found.group() if minutes is None else f"{minutes // 60}:{minutes % 60:02d}"


def fraction(text: str) -> Decimal | None:
    """The value of a text that is a fraction and nothing else: "7/3"."""
    found = _FRACTION.fullmatch(text.strip(" .$*"))
    try:
        return None if found is None else round(Decimal(found.group(1)) / Decimal(found.group(2)), _DIGITS)
    except (DivisionByZero, InvalidOperation):  # by nothing, or too long to be anything
        return None


def _quotient(found: re.Match[str]) -> str:
    try:
        value = (Decimal(found.group(1)) / Decimal(found.group(2))).normalize()
    except (DivisionByZero, InvalidOperation):
        return found.group()
    return found.group() if len(value.as_tuple().digits) > _DIGITS else format(value, "f")


_DIGITS = 6  # 1/3 stays 1/3


def _minutes(hour: str, minute: str, half: str, hour24: str, minute24: str) -> int | None:
    if hour24:
        return 60 * int(hour24) + int(minute24)
    if not 1 <= int(hour) <= 12:
        return None
    return 60 * (int(hour) % 12 + (12 if half.lower() == "p" else 0)) + int(minute or 0)


def _percent_of(found: re.Match[str]) -> str:
    many, part = found.group(1) or "one", found.group(2).lower()
    share = Decimal(100 * _whole(many)) / (_TOGETHER.get(part) or _TOGETHER[part.removesuffix("s")])
    return f"{round(share)} percent of "


@lru_cache(maxsize=2048)
def dates(text: str) -> frozenset[Date]:
    """The days that it names."""
    return frozenset(date for found in _DATE.finditer(text) if (date := _date(found)) is not None)


def name_other_dates(a: str, b: str) -> bool:
    """Whether each names a day that the other does not."""
    return _names_more(dates(a), dates(b)) and _names_more(dates(b), dates(a))


def _names_more(mine: frozenset[Date], others: frozenset[Date]) -> bool:
    return any(not any(_is_one_day(one, other) for other in others) for one in mine)


def _is_one_day(a: Date, b: Date) -> bool:
    return a[:2] == b[:2] and (a.year == b.year or None in (a.year, b.year))


def _plain_date(found: re.Match[str]) -> str:
    date = _date(found)
    if date is None:
        return found.group()
    return f"date{date.month:02d}{date.day:02d}" + ("" if date.year is None else f" {date.year}")


def _date(found: re.Match[str]) -> Date | None:
    """``None`` for what is no day, and for "4/5/2024", which is one in May or in April."""
    part = found.groupdict()
    if part["iso"]:
        year, month, day = part["iso"], part["iso_month"], part["iso_day"]
    elif part["dot"]:
        year, month, day = part["dot"], part["dot_month"], part["dot_day"]
    elif part["slash"]:
        year, month, day = part["slash"], *sorted((part["first"], part["second"]), key=int)
        if int(day) <= 12 and day != month:
            return None
    else:
        year, day = part["year"] or part["us"], part["day"] or part["us_day"]
        month = str(_MONTHS[(part["month"] or part["us_month"]).lower()])
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    return Date(int(month), int(day), int(year) if year else None)
