"""What a notebook shows of a guard's parts: tables in one style, in which a name is text."""

from __future__ import annotations

from pathlib import Path

import pytest

from costguard_core import Budget, CostGuard
from costguard_core.cache.exact_cache import BaseExactCache as ExactCache
from costguard_core.cache.layered_cache import BaseLayeredCache
from costguard_core.cache.stats import CacheStats
from costguard_core.routing.decision import Decision
from costguard_core.routing.scores import Reason

HOSTILE = "<script>alert(1)</script>"


class Layers(BaseLayeredCache[ExactCache]):
    def check_layer(self, layer: object) -> None:
        """Any will do."""


def test_each_has_a_table_in_the_one_style(tmp_path: Path) -> None:
    cache = ExactCache("memory://")
    with CostGuard(["$5/day per user"]) as guard:
        shown = [
            guard._repr_html_(),
            guard.budgets[0]._repr_html_(),
            cache._repr_html_(),
            Layers([cache])._repr_html_(),
            Decision("small", 0.2, 0.5, (Reason("short", -0.5),))._repr_html_(),
            guard.report()._repr_html_(),
            guard.explain()._repr_html_(),
            guard.forecast()._repr_html_(),
            guard.unit_economics("active_user")._repr_html_(),
        ]
    for text in shown:
        assert text.startswith('<div class="tex2jax_ignore mathjax_ignore" style="font-family:system-ui')
        assert "<table" in text


@pytest.mark.parametrize(
    "shown",
    [
        Budget("5", name=HOSTILE),
        Budget("5", where={"plan": HOSTILE}, per=("user",)),
        Decision(HOSTILE, 0.2, 0.5, (Reason(HOSTILE, 1.0),), escalated=True, saved=-5),
        CacheStats(3, 1, 0, 1, 0, 0, 5 * 10**9, {HOSTILE: 2}),
        ExactCache("memory://"),
    ],
)
def test_names_stay_text(shown: Budget | Decision | CacheStats | ExactCache) -> None:
    assert "<script" not in shown._repr_html_()


def test_the_figures_are_those_of_the_cache_and_of_the_decision() -> None:
    text = CacheStats(3, 1, 0, 1, 0, 0, 5 * 10**9, {"too hot": 2})._repr_html_()
    for figure in ("75%", "$5.0000", "Declined: too hot"):
        assert figure in text
    text = Decision("small", 0.2, 0.5, (Reason("short", -0.5),), escalated=True, saved=-5_000)._repr_html_()
    for part in ("Route: small", "short", "-0.50", "Score 0.20, cut 0.50", "failed a check", "$-0.000005"):
        assert part in text
    text = Budget("5", where={"plan": "free"}, per=("user",), alerts=(0.5, 0.9))._repr_html_()
    for part in ("user", "plan = free", "50%, 90%", "raise"):
        assert part in text
