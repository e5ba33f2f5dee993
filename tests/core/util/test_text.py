"""Names and prompts may hold any character; what is shown of them does no harm."""

from __future__ import annotations

import csv
import io
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.util.text import MOST_CHARACTERS, csv_cell, printable

ANY = st.text(st.characters())


@given(ANY)
def test_what_is_printable_is_encoded_and_moves_no_cursor(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert not {category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert shown.splitlines() in ([shown], [])


@pytest.mark.parametrize("text", ["u1", "José", "山田　太郎", "می‌خواهم", "👩‍👩‍👧 family", "a b"])
def test_ordinary_names_stay_as_they_are(text: str) -> None:
    assert printable(text) == text
    assert csv_cell(text) == text


def test_unsafe_characters_are_made_visible() -> None:
    assert printable("a\x1b[2J\n\u202eb\ud83d") == r"a\x1b[2J\n\u202eb\ud83d"


def test_long_texts_are_cut() -> None:
    assert printable("x" * 201) == "x" * 199 + "…"
    assert printable("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert printable("abcdef", most=4) == "abc…"


@given(ANY)
def test_no_cell_is_a_formula(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(text)])
    ((read,),) = csv.reader(io.StringIO(file.getvalue()))
    assert read.lstrip()[:1] not in ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


@pytest.mark.parametrize("text", ["=1+1", " =1+1", "+1", "-2+3", "@SUM(A1)", "＝1+1"])
def test_formulas_are_marked_as_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
