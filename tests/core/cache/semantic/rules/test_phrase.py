"""Words of a text, also when several threads read texts at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from costguard_core.cache.semantic.rules.phrase import stem

WORDS = ["returning", "organisation", "happiness", "caresses", "relational", "conditional", "agreement", "orders"]
STEMS = ["return", "organis", "happi", "caress", "relat", "condit", "agreement", "order"]


def test_threads_do_not_get_each_others_stems(eager_threads: None) -> None:
    threads, together = 4, Barrier(4)

    def stems(thread: int) -> list[str]:
        together.wait()
        wanted = WORDS[thread:] + WORDS[:thread]  # each begins elsewhere
        return [stem.__wrapped__(word) for _ in range(300) for word in wanted]

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(stems, range(threads)))
    assert found == [(STEMS[thread:] + STEMS[:thread]) * 300 for thread in range(threads)]
