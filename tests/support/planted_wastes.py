"""A synthetic ledger in which twelve wastes are planted among ordinary calls, and what each of them cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

from costguard_core.budgets.budget import Budget
from costguard_core.ledger import Ledger
from costguard_core.pricing import PriceBook
from costguard_core.routing.shadow.prompt_log import Pair
from costguard_core.types import Attribution, Event, Outcome, Usage

START = 1_795_305_600.0  # midnight, UTC
DAY = 86_400.0
DAYS = 14
STRONG, CHEAP, CLAUDE = ("gpt-4o", "openai"), ("gpt-4o-mini", "openai"), ("claude-sonnet-4-5", "anthropic")
NOISE = [f"/noise-{number}" for number in range(10)]


@dataclass
class Planted:
    """A ledger's events and the truth about them.

    Attributes:
        events: of the ledger.
        pairs: of the prompt log.
        budgets: in force.
        truth: what each waste cost in nano-dollars, by kind and endpoint.
    """

    events: list[Event] = field(default_factory=list)
    pairs: list[tuple[Pair, float | None]] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    truth: dict[tuple[str, str | None], int] = field(default_factory=dict)

    @property
    def spend(self) -> int:
        return sum(event.cost or 0 for event in self.events)

    def write(self, ledger: Ledger) -> None:
        """Record everything."""
        for number, event in enumerate(self.events, 1):
            ledger.append(event)
            if number % 10_000 == 0:
                ledger.flush(60)
        ledger.flush(60)


class Planter:
    """Makes events. ``scale`` multiplies how many; one seed gives the same events always."""

    strong, cheap = STRONG, CHEAP

    def __init__(self, seed: int, scale: float = 1.0, *, prices: PriceBook | None = None) -> None:
        self.random, self.scale = Random(seed), scale
        self.prices = prices or PriceBook()
        self.found = Planted()
        self.ids, self.prompts = count(), count()

    def all(self) -> Planted:
        """Ordinary calls and the twelve wastes, in the order of time."""
        self.noise()
        wastes: tuple[Callable[[], None], ...] = (
            self.repeats, self.scope, self.loop, self.burst, self.documents, self.prefix,
            self.unread_cache, self.long_answers, self.paid_errors, self.dear_model, self.template, self.idle_budget,
        )  # fmt: skip
        for plant in wastes:
            plant()
        self.found.events.sort(key=lambda event: event.time)
        return self.found

    def times(self, number: int) -> Iterator[float]:
        for _ in range(round(number * self.scale)):
            yield START + DAYS * DAY * self.random.random()

    def lengths(self, median: float, sigma: float) -> int:
        return max(5, round(self.random.lognormvariate(0.0, sigma) * median))

    def new_prompt(self) -> str:
        return f"{next(self.prompts):016x}"

    def call(
        self,
        endpoint: str,
        time: float,
        usage: Usage,
        model: tuple[str, str] = STRONG,
        *,
        prompt: str | None = None,
        outcome: Outcome = Outcome.MISS,
        **who: Any,
    ) -> Event:
        """One call, paid unless it is a hit."""
        who.setdefault("user", f"u{self.random.randrange(200)}")
        cost = self.prices.cost(usage, model=model[0], provider=model[1], at=time)
        assert cost is not None
        event = Event(
            f"e{next(self.ids)}",
            time,
            outcome,
            model[0],
            model[1],
            Attribution(endpoint=endpoint, **who),
            usage,
            0 if outcome.is_hit else cost,
            saved=cost if outcome.is_hit else 0,
            latency=0.5 + self.random.random(),
            fingerprint=prompt or self.new_prompt(),
            reason="Timeout" if outcome is Outcome.ERROR else None,
        )
        self.found.events.append(event)
        return event

    def waste(self, kind: str, endpoint: str | None, nanos: int) -> None:
        key = (kind, endpoint)
        self.found.truth[key] = self.found.truth.get(key, 0) + nanos

    def ordinary(self) -> Usage:
        return Usage(input_tokens=self.lengths(600, 0.6), output_tokens=self.lengths(250, 0.4))

    def noise(self) -> None:
        """Calls as they should be: different prompts, some hits, some failures that cost nothing, rare repetitions."""
        for endpoint in NOISE:
            model = CHEAP if self.random.random() < 0.3 else STRONG
            for time in self.times(1_500):
                made = self.call(endpoint, time, self.ordinary(), model)
                chance = self.random.random()
                if chance < 0.2:
                    self.call(endpoint, time + 60, made.usage, model, prompt=made.fingerprint, outcome=Outcome.EXACT)
                elif chance < 0.23:
                    self.found.events.append(
                        replace(made, id=f"e{next(self.ids)}", time=time - 1, outcome=Outcome.ERROR, cost=0)
                    )
                elif chance < 0.235:  # asked again when the answer had expired
                    self.call(endpoint, time + 3 * DAY, made.usage, model, prompt=made.fingerprint)

    def repeats(self) -> None:
        questions = [(self.new_prompt(), self.ordinary()) for _ in range(60)]
        until: dict[str, float] = {}
        for time in sorted(self.times(3_000)):
            prompt, usage = self.random.choice(questions)
            made = self.call("/faq", time, usage, prompt=prompt)
            if time < until.get(prompt, 0.0):  # what a cache whose answers live for a day would have held
                self.waste("repeats", "/faq", made.cost or 0)
            else:
                until[prompt] = time + DAY

    def scope(self) -> None:
        questions = [(self.new_prompt(), self.ordinary()) for _ in range(40)]
        seen: dict[tuple[str, str], float] = {}
        shared: dict[str, float] = {}
        for time in sorted(self.times(4_000)):
            prompt, usage = self.random.choice(questions)
            user = f"u{self.random.randrange(300)}"
            if time < seen.get((prompt, user), 0.0):
                self.call("/help", time, usage, prompt=prompt, user=user, outcome=Outcome.EXACT)
                continue
            seen[prompt, user] = time + DAY
            made = self.call("/help", time, usage, prompt=prompt, user=user)
            if time < shared.get(prompt, 0.0):
                self.waste("scope", "/help", made.cost or 0)
            else:
                shared[prompt] = time + DAY

    def loop(self) -> None:
        for number, start in enumerate(self.times(40)):
            prompt, usage = self.new_prompt(), Usage(input_tokens=3_000, output_tokens=200)
            for step in range(self.random.randrange(30, 90)):
                made = self.call("/agent", start + 5 * step, usage, prompt=prompt, session=f"s{number}", user="u1")
                if step >= 5:
                    self.waste("loop", "/agent", made.cost or 0)

    def burst(self) -> None:
        for start in self.times(500):
            prompt, usage = self.new_prompt(), self.ordinary()
            for number in range(8):
                made = self.call("/widget", start + 0.02 * number, usage, prompt=prompt)
                if number:
                    self.waste("burst", "/widget", made.cost or 0)

    def documents(self) -> None:
        for time in self.times(600):
            usage = Usage(input_tokens=self.lengths(14_000, 0.5), output_tokens=self.lengths(500, 0.3))
            made = self.call("/documents", time, usage)
            cheap = self.prices.cost(usage, model=CHEAP[0], provider=CHEAP[1], at=time) or 0
            self.waste("documents", "/documents", (made.cost or 0) - cheap)

    def prefix(self) -> None:
        last = 0.0
        for time in sorted(self.times(6_000)):
            question = self.lengths(120, 0.4)
            usage = Usage(input_tokens=3_000 + question, output_tokens=self.lengths(150, 0.4))
            made = self.call("/assistant", time, usage)
            cached = replace(usage, cache_read_tokens=3_000)
            if time - last <= 300:
                cost = self.prices.cost(cached, model=STRONG[0], provider=STRONG[1], at=time) or 0
                self.waste("prefix", "/assistant", (made.cost or 0) - cost)
            last = time

    def unread_cache(self) -> None:
        for time in self.times(1_000):
            written = self.lengths(6_000, 0.2)
            usage = Usage(input_tokens=written + 200, output_tokens=300, cache_write_tokens=written)
            made = self.call("/claude", time, usage, CLAUDE)
            plain = self.prices.cost(replace(usage, cache_write_tokens=0), model=CLAUDE[0], provider=CLAUDE[1], at=time)
            self.waste("unread cache", "/claude", (made.cost or 0) - (plain or 0))

    def long_answers(self) -> None:
        for time in self.times(2_500):
            usual = self.lengths(200, 0.3)
            runs_on = self.random.random() < 0.12
            usage = Usage(input_tokens=400, output_tokens=self.lengths(6_000, 0.2) if runs_on else usual)
            made = self.call("/extract", time, usage)
            if runs_on:
                short = self.prices.cost(replace(usage, output_tokens=usual), model=STRONG[0], at=time) or 0
                self.waste("long answers", "/extract", (made.cost or 0) - short)

    def paid_errors(self) -> None:
        for time in self.times(2_000):
            failed = self.random.random() < 0.15
            outcome = Outcome.ERROR if failed else Outcome.MISS
            usage = Usage(input_tokens=self.lengths(2_000, 0.5), output_tokens=self.lengths(600, 0.4))
            made = self.call("/slow", time, usage, outcome=outcome)
            if failed:
                self.waste("paid errors", "/slow", made.cost or 0)

    def dear_model(self) -> None:
        for time in self.times(2_000):
            usage = self.ordinary()
            made = self.call("/support", time, usage)
            cheap = self.prices.cost(usage, model=CHEAP[0], provider=CHEAP[1], at=time) or 0
            if self.random.random() < 0.88:  # answered as well
                self.waste("dear model", "/support", (made.cost or 0) - cheap)
        for _ in range(300):
            good = self.random.random() < 0.88
            thing = "".join(self.random.choices("bcdfglmnprst", k=10))  # a word, because an id would make it a template
            self.pair("/support", f"How do I do {thing}?", good=good)

    def template(self) -> None:
        kinds = ["Where is my order {}?", "Cancel order {} please", "When will {} arrive?"]
        for time in self.times(1_500):
            made = self.call("/orders", time, self.ordinary())
            if self.random.random() < 0.6:
                self.waste("template", "/orders", made.cost or 0)
        words = [f"{first}{second}" for first in "bcdfghjklmnp" for second in ("a", "e", "i", "o", "u", "y")]
        for number in range(300):
            if self.random.random() < 0.6:
                text = self.random.choice(kinds).format(self.random.randrange(10**8))
            else:
                text = " ".join(self.random.choice(words) for _ in range(9))
            self.pair("/orders", text, good=False, number=number)

    def pair(self, endpoint: str, prompt: str, *, good: bool, number: int = 0) -> None:
        self.found.pairs.append(
            (
                Pair(
                    f"p{next(self.ids)}",
                    START + number,
                    prompt,
                    None,
                    None,
                    "strong",
                    endpoint,
                    weak_model=self.cheap[0],
                    strong_model=self.strong[0],
                    weak=1.0 if good else 0.0,
                    strong=1.0,
                ),  # fmt: skip
                None,
            )
        )

    def idle_budget(self) -> None:
        per_day: dict[tuple[int, str | None], int] = {}
        for event in self.found.events:
            key = (int((event.time - START) // DAY), event.attribution.user)
            per_day[key] = per_day.get(key, 0) + (event.cost or 0)
        worst = max(per_day.values()) / 1e9
        self.found.budgets = [
            Budget.parse(f"${30 * worst:.2f}/day per user"),  # never binds
            Budget.parse(f"${1.2 * worst:.2f}/day per user", name="near"),
        ]
        self.waste("idle budget", None, 0)
