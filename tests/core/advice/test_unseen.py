"""Advice on ledgers that its rules were not tuned on, and on calls that look like waste and are none."""

from __future__ import annotations

import pytest
from planted_wastes import DAY, START, Planted
from varied_wastes import SHAPES, Shape, VariedPlanter

from costguard_core.advice import Advice, advise
from costguard_core.advice.prompts import masked
from costguard_core.ledger import open_ledger


def advice_on(planter: VariedPlanter, planted: Planted) -> Advice:
    end = START + DAY * (planter.days + 1)
    with open_ledger("memory://", clock=lambda: end) as ledger:
        planted.write(ledger)
        return advise(ledger, since=START - DAY, prices=planter.prices, budgets=planted.budgets, pairs=planted.pairs)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_wastes_in_other_applications_are_found_and_worth_what_is_said(shape: Shape) -> None:
    planter = VariedPlanter(4, shape, calls=2_000)
    planted = planter.all()
    found = advice_on(planter, planted)
    said = {(each.kind, each.endpoint): each.saving for each in found}
    assert len(planted.truth) == 12
    assert len(said.keys() & planted.truth.keys()) >= 11
    for key in said.keys() & planted.truth.keys():
        assert not planted.truth[key] or abs(said[key] / planted.truth[key] - 1) <= 0.2, key
    false = [key for key, nanos in said.items() if nanos > planted.spend / 100 and key not in planted.truth]
    assert false == []


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_calls_that_only_look_like_waste_are_not_named(shape: Shape) -> None:
    planter = VariedPlanter(5, shape)
    planter.noise()
    assert [each.mark for each in advice_on(planter, planter.found)] == []


@pytest.mark.slow
def test_samples_of_one_user_are_not_put_down_as_sure_waste() -> None:
    planter = VariedPlanter(6, SHAPES[0], calls=2_000)
    found = {each.mark: each for each in advice_on(planter, planter.doubtful())}
    assert found["burst samples"].confidence == "medium"  # so `advise --apply` writes nothing of it unasked
    assert "on purpose" in found["burst samples"].text


def test_ids_numbers_dates_names_and_addresses_are_no_words_of_a_question() -> None:
    for one, other in (
        (
            "Is the slot on March 3 still free for Jean-Luc O'Brien?",
            "Is the slot on May 28 still free for Mei van Dijk?",
        ),
        ("classify https://example.org/t/77", "classify https://example.org/t/8"),
        ("Explain why job 0b1e66fa00bd12 failed", "Explain why job 77 failed"),
        ("Draft a reply to anna@example.org", "Draft a reply to jürgen@example.org"),
        ("parcel DX-012345 since 03.11.2026?", "parcel AZ-1 since 2026-11-04?"),
    ):
        assert masked(one) == masked(other), one
    for one, other in (
        ("Wie ändere ich mein Passwort?", "Wie ändere ich mein Abo?"),  # German nouns are no names
        ("Reset the router. Restart it.", "Reset the router. Unplug it."),
        ("Can I cancel", "Can we cancel"),
    ):
        assert masked(one) != masked(other), one
