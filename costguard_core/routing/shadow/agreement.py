"""The shadow sample: the few requests that both models answer, because only paired labels teach a router well."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from costguard_core.routing.checks.answers import final_answer
from costguard_core.routing.learning.features import tokens

RATE = 0.02
_BUCKETS = 2**32


@dataclass(frozen=True, slots=True)
class Shadow:
    """Which requests are sampled: ``rate`` (0..1) of them, until ``budget`` nano-dollars are spent on second answers.

    ``budget=None`` is no limit. 200 rows are enough for a table of call sites, 500 for text; on the pair measured, 200
    extra strong calls were repaid after about 670 requests.
    """

    rate: float = RATE
    budget: int | None = None

    def wants(self, call_id: str, *, spent: int = 0, cost: int = 0) -> bool:
        """Whether this call is sampled. The same id always gets the same answer, in every process.

        Args:
            call_id: a unique id of the call, not its text: repeated questions must not all be in or out.
            spent: nano-dollars that second answers cost so far.
            cost: what this one would cost.
        """
        if self.budget is not None and spent + cost > self.budget:
            return False
        return crc32(call_id.encode("utf-8", "surrogatepass")) < self.rate * _BUCKETS


def agreement(weak: str, strong: str) -> float:
    """1.0 when two answers say the same result, else 0.0: a label where nobody judges.

    Marked results are compared when both have one, otherwise the words. "They differ" is a usable start (measured
    .57-.62 APGR where true labels give .60-.71): where they differ, the weak one is wrong in four of five cases.
    """
    one, two = final_answer(weak), final_answer(strong)
    if one is None or two is None:
        one, two = weak, strong
    return float([word for word in tokens(one) if word.isalnum()] == [word for word in tokens(two) if word.isalnum()])
