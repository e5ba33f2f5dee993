"""Ledgers that the rules of advice were not tuned on: four shapes of application, everything in them drawn by a seed.

Names of endpoints, models, their sellers and discounts, days, traffic by hour and weekday, lengths, volumes, the sizes
of wastes, wordings and budgets differ from ledger to ledger. Beside ordinary calls there are some that look like waste
and are none: answers of very different lengths, prompts of nearly one length without a common part, prompt caches that
work, chats whose history grows, and sampled questions that the cheaper model answers badly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import pi, sin
from typing import Any, NamedTuple

from planted_wastes import CLAUDE, DAY, START, Planted, Planter

from costguard_core.budgets.budget import Budget
from costguard_core.pricing import PriceBook
from costguard_core.types import Outcome, Usage

Model = tuple[str, str]


class Shape(NamedTuple):
    """A kind of application.

    Attributes:
        name: its own.
        strong, cheap: models, and who sells them.
        days: the shortest and the longest ledger.
        prompt, answer: medians of ordinary calls, tokens.
        night: the part of the traffic of noon that is left at midnight.
        weekend: the same of weekdays.
        sessions: the part of ordinary calls that has one.
        words: names of endpoints are made of.
        templates: questions that differ only in what stands in their places.
    """

    name: str
    strong: Model
    cheap: Model
    days: tuple[int, int]
    prompt: int
    answer: int
    night: float
    weekend: float
    sessions: float
    words: Sequence[str]
    templates: Sequence[str]


_TEMPLATES = (
    "Summarise ticket {number} for the customer {name}.",
    "What happened to parcel {code} since {day}?",
    "Draft a reply to {mail} about invoice {number}",
    "Translate the subject of message {uuid} into German",
    "Is the slot on {month} still free for {name}?",
    "Explain why job {id} failed",
    "Why was {name} charged {number} cents on {day}?",
    "classify {link}",
    "Write the release note of commit {id}, dated {day}",
)
# Written after the rules were last changed, and never used to change them.
_UNSEEN_TEMPLATES = (
    "Wo ist die Bestellung {number}?",
    "Bitte storniere Auftrag {code} vom {day}.",
    "Hi, {name} here. Can you send me the receipt for {month}?",
    "tracking {code} says delivered, but I got nothing",
    "{name} wants to change the address of order #{number} before {hour}",
    "Write three lines of praise for {product}, size {number}",
    "sku={code}&qty={small}: is it in stock",
    "Réserve une table pour {small} personnes le {month}",
)

SHAPES = (
    Shape(
        "support chat", ("claude-sonnet-4-5", "anthropic"), ("claude-haiku-4-5", "anthropic"), (14, 28), 900, 180, 0.1,
        0.5, 0.8, ("/chat", "/tickets", "/macros", "/triage", "/returns", "/voice"), _TEMPLATES,
    ),
    Shape(
        "document pipeline", ("gemini-2.5-pro", "google"), ("gemini-2.5-flash-lite", "google"), (10, 21), 2_500, 400,
        1.0, 1.0, 0.0, ("ingest", "contracts", "ocr", "tagging", "index", "dedupe"), _TEMPLATES,
    ),
    Shape(
        "coding agents", ("gpt-4.1", "openai"), ("gpt-4.1-mini", "openai"), (10, 30), 4_000, 250, 0.3, 0.2, 1.0,
        ("agent.plan", "agent.edit", "agent.review", "ci/fix", "ci/explain", "search"), _TEMPLATES,
    ),
    Shape(
        "shop in three languages", ("gpt-4o", "openai"), ("gpt-4o-mini", "openai"), (7, 40), 350, 90, 0.02, 1.8,
        0.4, ("suche", "panier", "checkout", "reviews", "copy", "newsletter"), _UNSEEN_TEMPLATES,
    ),
)  # fmt: skip
_LEAST, _MOST = 0.06, 0.25  # of the ordinary spend: what one waste is made to cost


class VariedPlanter(Planter):
    """Makes one ledger of a shape; ``days`` is how long it is."""

    def __init__(self, seed: int, shape: Shape, *, calls: int = 4_000) -> None:
        super().__init__(seed)
        discounts = {seller: f"0.{self.random.randrange(40):02d}" for _, seller in (shape.strong, CLAUDE)}
        self.prices = PriceBook(discounts=discounts)
        self.shape, self.calls = shape, calls
        self.days = self.random.randint(*shape.days)
        self.peak = self.random.uniform(9, 20)
        self.users = self.random.choice((5, 60, 800))
        self.strong, self.cheap = shape.strong, shape.cheap
        names = [f"{word}{ending}" for word in shape.words for ending in ("", "-v2", "/beta", ".internal", " (eu)")]
        self.names = self.random.sample(names, len(names))
        self.busy: list[str | None] = []

    def all(self) -> Planted:
        self.noise()
        ordinary, busy = self.found.spend, [name for name in self.busy if name]
        # Wastes that are single calls may stand among ordinary ones, where nothing is cached yet.
        single = (self.plant_loop, self.plant_burst, self.plant_errors)
        among = dict(zip(single, self.random.sample(busy, len(single)), strict=True))
        wastes: tuple[Callable[[str, float], None], ...] = (
            self.plant_repeats, self.plant_scope, self.plant_loop, self.plant_burst, self.plant_documents,
            self.plant_prefix, self.plant_unread, self.plant_long, self.plant_errors, self.plant_dear,
            self.plant_template,
        )  # fmt: skip
        for plant in wastes:
            wanted = self.between(_LEAST, _MOST) * ordinary
            endpoint, factor = self.names.pop(), 0.25
            if plant in among and self.random.random() < 0.4:
                endpoint = among[plant]
            while True:  # as many calls as make it so dear
                kept, self.found.events = self.found.events, []
                truth, pairs = dict(self.found.truth), list(self.found.pairs)
                plant(endpoint, factor)
                (cost,) = [nanos for key, nanos in self.found.truth.items() if key not in truth]
                if cost >= wanted or factor > 100:
                    self.found.events = kept + self.found.events
                    break
                self.found.events, self.found.truth, self.found.pairs = kept, truth, pairs
                factor *= max(1.3, min(8.0, wanted / max(1, cost)))
        self.idle_budget()
        self.found.events.sort(key=lambda event: event.time)
        return self.found

    # What is drawn.

    def between(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)

    def times(self, number: float, days: float | None = None) -> Iterator[float]:
        """Moments as people's days and weeks have them; the traffic grows or shrinks over the span."""
        trend = self.between(-0.4, 0.6)
        for _ in range(round(number)):
            while True:
                at = self.random.random()
                moment = START + DAY * self.days * at
                hour, weekday = (moment % DAY) / 3_600, (moment // DAY) % 7
                noon = (1 + sin((hour - self.peak + 6) / 12 * pi)) / 2
                chance = self.shape.night + (1 - self.shape.night) * noon
                chance *= (self.shape.weekend if weekday >= 5 else 1) * (1 + trend * at) / 1.6
                if self.random.random() < chance:
                    yield moment
                    break

    def user(self) -> str | None:
        """Few people ask most; some calls have nobody."""
        if self.random.random() < 0.1:
            return None
        return f"user-{int(self.users * self.random.random() ** 2.5)}"

    def ordinary(self) -> Usage:
        return Usage(
            input_tokens=self.lengths(self.shape.prompt, 0.7), output_tokens=self.lengths(self.shape.answer, 0.5)
        )

    def paid(self, endpoint: str, time: float, usage: Usage, model: Model | None = None, **who: Any) -> int:
        """One call; what it cost."""
        who.setdefault("user", self.user())
        return self.call(endpoint, time, usage, model or self.strong, **who).cost or 0

    def price(self, usage: Usage, model: Model, time: float) -> int:
        return self.prices.cost(usage, model=model[0], provider=model[1], at=time) or 0

    # What is no waste.

    def noise(self) -> None:
        for number in range(6):
            endpoint = self.names.pop() if number else None  # some calls have no endpoint
            self.busy.append(endpoint)
            model = self.cheap if number == 1 or self.random.random() < 0.4 else self.strong
            hits, failures = self.between(0, 0.4), self.between(0, 0.05)
            for time in self.times(self.calls / 6 * self.between(0.4, 1.6)):
                session = f"s{self.random.randrange(500)}" if self.random.random() < self.shape.sessions else None
                usage, prompt, user = self.ordinary(), self.new_prompt(), self.user()
                self.call(endpoint, time, usage, model, prompt=prompt, session=session, user=user)  # type: ignore[arg-type]
                chance = self.random.random()
                if chance < hits:
                    self.call(endpoint, time + 90, usage, model, prompt=prompt, outcome=Outcome.EXACT, user=user)  # type: ignore[arg-type]
                elif chance < hits + failures:  # refused by the provider: costs nothing
                    made = self.call(endpoint, time - 2, usage, model, prompt=prompt, outcome=Outcome.ERROR, user=user)  # type: ignore[arg-type]
                    self.found.events[-1] = replace(made, cost=0)
        self.essays(self.names.pop())
        self.chunks(self.names.pop())
        self.working_cache(self.names.pop())
        self.growing_chats(self.names.pop())
        self.hard_questions(self.names.pop())

    def essays(self, endpoint: str) -> None:
        """Answers of very different lengths, as they should be."""
        sigma = self.between(0.7, 1.0)
        for time in self.times(self.calls / 12):
            self.paid(
                endpoint, time, Usage(input_tokens=self.lengths(300, 0.5), output_tokens=self.lengths(400, sigma))
            )

    def chunks(self, endpoint: str) -> None:
        """Prompts of five found pieces: nearly of one length, and nothing in common."""
        for time in self.times(self.calls / 6):
            pieces = sum(self.random.randint(420, 512) for _ in range(8))
            self.paid(endpoint, time, Usage(input_tokens=pieces + 80, output_tokens=self.lengths(120, 0.4)))

    def working_cache(self, endpoint: str) -> None:
        """A long system prompt whose marks pay: written now and then, mostly read."""
        prefix = self.random.randrange(5_000, 9_000)
        for time in self.times(self.calls / 12):
            written = self.random.random() < 0.08
            cached = {"cache_write_tokens" if written else "cache_read_tokens": prefix}
            usage = Usage(input_tokens=prefix + self.lengths(150, 0.6), output_tokens=self.lengths(200, 0.4), **cached)
            self.paid(endpoint, time, usage, CLAUDE)

    def growing_chats(self, endpoint: str) -> None:
        """Chats: each turn sends all earlier ones, which the provider has cached."""
        for start in self.times(self.calls / 60):
            history, session, user = self.lengths(400, 0.3), self.new_prompt(), self.user()
            for turn in range(self.random.randrange(2, 12)):
                asked = history + self.lengths(60, 0.5)
                answer = self.lengths(250, 0.5)
                usage = Usage(asked, answer, cache_read_tokens=history if turn and history > 1_024 else 0)
                self.paid(endpoint, start + 40 * turn, usage, session=session, user=user)
                history = asked + answer

    def hard_questions(self, endpoint: str) -> None:
        """The cheaper model was tried here, and is worse."""
        for time in self.times(self.calls / 12):
            self.paid(endpoint, time, self.ordinary())
        good = self.between(0.3, 0.6)
        for number in range(200):
            self.pair(endpoint, self.sentence(), good=self.random.random() < good, number=number)

    def doubtful(self) -> Planted:
        """Calls that look exactly like waste in a ledger, and are meant: five samples of one question at once,
        documents that need the dearer model, and a status that a session polls."""
        for start in self.times(self.calls / 20):
            prompt, usage = self.new_prompt(), self.ordinary()
            for _ in range(5):
                self.paid("samples", start, usage, prompt=prompt, user="sampler")
        for time in self.times(self.calls / 40):
            self.paid("legal", time, Usage(self.lengths(20_000, 0.5), self.lengths(400, 0.4)))
        for time in self.times(1):
            self.paid("cheap", time, self.ordinary(), self.cheap)
        for start in self.times(self.calls / 400):
            prompt, usage, session = self.new_prompt(), self.ordinary(), self.new_prompt()
            for step in range(30):
                self.paid("polling", start + 20 * step, usage, prompt=prompt, session=session)
        self.found.events.sort(key=lambda event: event.time)
        return self.found

    # What is waste.

    def plant_repeats(self, endpoint: str, factor: float) -> None:
        number = self.random.randrange(10, 200)
        questions = [(self.new_prompt(), self.ordinary()) for _ in range(number)]
        until: dict[str, float] = {}
        skew = self.between(1.0, 3.0)
        for time in sorted(self.times(1_500 * factor)):
            prompt, usage = questions[int(number * self.random.random() ** skew)]
            usage = replace(usage, output_tokens=self.lengths(usage.output_tokens, 0.2))  # answers differ a little
            cost = self.paid(endpoint, time, usage, prompt=prompt)
            if time < until.get(prompt, 0.0):
                self.waste("repeats", endpoint, cost)
            else:
                until[prompt] = time + DAY

    def plant_scope(self, endpoint: str, factor: float) -> None:
        number, people = self.random.randrange(10, 60), self.random.randrange(30, 300)
        questions = [(self.new_prompt(), self.ordinary()) for _ in range(number)]
        seen: dict[tuple[str, str], float] = {}
        shared: dict[str, float] = {}
        for time in sorted(self.times(2_000 * factor)):
            prompt, usage = self.random.choice(questions)
            user = f"u{int(people * self.random.random() ** 1.5)}"
            if time < seen.get((prompt, user), 0.0):
                self.call(endpoint, time, usage, self.strong, prompt=prompt, user=user, outcome=Outcome.EXACT)
                continue
            seen[prompt, user] = time + DAY
            cost = self.paid(endpoint, time, usage, prompt=prompt, user=user)
            if time < shared.get(prompt, 0.0):
                self.waste("scope", endpoint, cost)
            else:
                shared[prompt] = time + DAY

    def plant_loop(self, endpoint: str, factor: float) -> None:
        most, gap = self.random.randrange(15, 120), self.between(1, 40)
        cycle = self.random.choice((1, 1, 2, 3))
        for start in self.times(40 * factor):
            steps = [(self.new_prompt(), self.ordinary()) for _ in range(cycle)]
            session, user = self.new_prompt(), self.user()
            for step in range(cycle * self.random.randrange(8, most)):
                prompt, usage = steps[step % cycle]
                cost = self.paid(endpoint, start + gap * step, usage, prompt=prompt, session=session, user=user)
                if step // cycle >= 5:
                    self.waste("loop", endpoint, cost)
            for _ in range(self.random.randrange(20)):  # the same agent, when it does its work
                self.paid(endpoint, start - 60 * self.between(1, 90), self.ordinary(), session=self.new_prompt())

    def plant_burst(self, endpoint: str, factor: float) -> None:
        size, spread = self.random.randrange(3, 20), self.between(0.001, 0.02)
        for start in self.times(300 * factor):
            prompt, usage = self.new_prompt(), self.ordinary()
            for number in range(size):
                cost = self.paid(endpoint, start + spread * number, usage, prompt=prompt)
                if number:
                    self.waste("burst", endpoint, cost)

    def plant_documents(self, endpoint: str, factor: float) -> None:
        median, sigma = self.between(10_000, 40_000), self.between(0.3, 0.8)
        for time in self.times(250 * factor):
            usage = Usage(input_tokens=self.lengths(median, sigma), output_tokens=self.lengths(500, 0.4))
            cost = self.paid(endpoint, time, usage)
            self.waste("documents", endpoint, cost - self.price(usage, self.cheap, time))

    def plant_prefix(self, endpoint: str, factor: float) -> None:
        prefix = self.random.randrange(2_200, 7_000) // 128 * 128
        question, sigma = prefix * self.between(0.02, 0.08), self.between(0.3, 0.7)
        before = -1e9
        for time in sorted(self.times(3_000 * factor)):
            usage = Usage(
                input_tokens=prefix + self.lengths(question, sigma), output_tokens=self.lengths(self.shape.answer, 0.4)
            )
            cost = self.paid(endpoint, time, usage)
            if time - before <= 300:
                warm = replace(usage, cache_read_tokens=prefix)
                self.waste("prefix", endpoint, cost - self.price(warm, self.strong, time))
            before = time

    def plant_unread(self, endpoint: str, factor: float) -> None:
        median, read = self.between(2_000, 12_000), self.between(0.0, 0.1)
        for time in self.times(500 * factor):
            written = self.lengths(median, 0.3)
            marks = {"cache_read_tokens" if self.random.random() < read else "cache_write_tokens": written}
            usage = Usage(written + self.lengths(200, 0.5), self.lengths(250, 0.5), **marks)
            cost = self.paid(endpoint, time, usage, CLAUDE)
            plain = replace(usage, cache_write_tokens=0, cache_read_tokens=0)
            self.waste("unread cache", endpoint, cost - self.price(plain, CLAUDE, time))

    def plant_long(self, endpoint: str, factor: float) -> None:
        median, sigma = self.between(60, 500), self.between(0.2, 0.4)
        share, times_as_long = self.between(0.05, 0.2), self.between(7, 30)
        for time in self.times(1_000 * factor):
            usual = self.lengths(median, sigma)
            asked, runs_on = self.lengths(700, 0.5), self.random.random() < share
            usage = Usage(asked, self.lengths(times_as_long * median, 0.2) if runs_on else usual)
            cost = self.paid(endpoint, time, usage)
            if runs_on:
                self.waste("long answers", endpoint, cost - self.price(Usage(asked, usual), self.strong, time))

    def plant_errors(self, endpoint: str, factor: float) -> None:
        share = self.between(0.04, 0.25)
        for time in self.times(800 * factor):
            failed = self.random.random() < share
            outcome = self.random.choice((Outcome.ERROR, Outcome.ABANDONED)) if failed else Outcome.MISS
            cost = self.paid(endpoint, time, self.ordinary(), outcome=outcome)
            if failed:
                self.waste("paid errors", endpoint, cost)

    def plant_dear(self, endpoint: str, factor: float) -> None:
        good = self.between(0.8, 0.97)
        for time in self.times(700 * factor):
            usage = self.ordinary()
            cost = self.paid(endpoint, time, usage)
            if self.random.random() < good:
                self.waste("dear model", endpoint, cost - self.price(usage, self.cheap, time))
        for number in range(self.random.randrange(100, 500)):
            self.pair(endpoint, self.sentence(), good=self.random.random() < good, number=number)

    def plant_template(self, endpoint: str, factor: float) -> None:
        share = self.between(0.35, 0.8)
        for time in self.times(600 * factor):
            cost = self.paid(endpoint, time, self.ordinary())
            if self.random.random() < share:
                self.waste("template", endpoint, cost)
        kinds = self.random.sample(self.shape.templates, self.random.randrange(2, 6))
        for number in range(self.random.randrange(150, 500)):
            text = self.filled(self.random.choice(kinds)) if self.random.random() < share else self.sentence()
            self.pair(endpoint, text, good=False, number=number)

    def idle_budget(self) -> None:
        per = self.random.choice(("user", "endpoint"))
        sums: dict[tuple[int, str | None], int] = {}
        for event in self.found.events:
            key = (int(event.time // DAY), getattr(event.attribution, per))
            sums[key] = sums.get(key, 0) + (event.cost or 0)
        worst = max(sums.values()) / 1e9
        self.found.budgets = [
            Budget.parse(f"${self.between(15, 200) * worst:.2f}/day per {per}"),
            Budget.parse(f"${self.between(1.1, 5) * worst:.2f}/day per {per}", name="near"),
        ]
        self.waste("idle budget", None, 0)

    # Texts of the prompt log.

    def sentence(self) -> str:
        """A question that nobody asked before."""
        return " ".join(self.random.choice(_WORDS) for _ in range(self.random.randrange(7, 18)))

    def filled(self, template: str) -> str:
        values = {
            "id": f"{self.random.getrandbits(64):016x}",
            "uuid": "-".join(f"{self.random.getrandbits(4 * size):0{size}x}" for size in (8, 4, 4, 4, 12)),
            "number": str(self.random.randrange(10 ** self.random.randrange(3, 9))),
            "code": f"{self.random.choice('ABCDEFG')}{self.random.choice('XYZ')}-{self.random.randrange(10**6):06d}",
            "day": f"{self.random.randrange(1, 29):02d}.{self.random.randrange(1, 13):02d}.2026",
            "month": f"{self.random.choice(_MONTHS)} {self.random.randrange(1, 29)}",
            "name": f"{self.random.choice(_FIRST)} {self.random.choice(_LAST)}",
            "mail": f"{self.random.choice(_FIRST)}{self.random.randrange(10**6)}@example.org".lower(),
            "hour": f"{self.random.randrange(1, 12)}{self.random.choice(('pm', ':30', ' Uhr'))}",
            "product": self.random.choice(_PRODUCTS),
            "small": str(self.random.randrange(2, 12)),
            "link": f"https://example.org/t/{self.random.randrange(10**7)}",
        }
        return template.format(**values)


_MONTHS = ("January", "March", "May", "July", "October", "December")
_FIRST = ("Amélie", "José", "Ngozi", "Bob", "Siobhán", "Mei", "Lars", "Olga", "Jean-Luc", "Fatima")
_LAST = ("O'Brien", "García", "Lindqvist", "Okafor", "Müller", "Tanaka", "van Dijk", "Smith", "Novák", "Haddad")
_PRODUCTS = ("Trail Runner 2", "the blue Alpine Jacket", "Kaffeebecher Nord", "Sommerkleid Lotte", "Chaise Éole")
_WORDS = (
    "how does the setting for export work when rows contain line breaks and nobody has opened them before which tool "
    "would you pick to compare two schemas why is latency higher after upgrade than it was can i merge accounts what "
    "about refunds in another currency explain difference between draft and published should we keep logs longer does "
    "search ignore accents make table of fees list steps move folder restore deleted page describe role editor limit"
).split()
