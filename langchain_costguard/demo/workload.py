"""The day of a support bot: who asks what, where and when. The texts are in ``data/``, the mixture is here.

About 400 requests of nine customers, three colleagues and one agent that runs away; three in ten are exact repeats.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from random import Random

CUSTOMERS = ("amina", "bjorn", "carla", "dmitri", "elena", "farid", "greta", "hugo", "ines")
STAFF = ("daniel", "lena", "priya")
RUNAWAY = "returns-bot"
LOOP_CALLS = 80

_FAQ = """You are the assistant of Fernway, a shop for outdoor equipment. Answer in a friendly tone, in at most \
four sentences, and only from these facts. Delivery takes two to four working days in the Nordic countries and \
five to seven elsewhere in Europe; it is free from 80 euros on, otherwise 5.90 euros. Items can be returned \
unused within sixty days; the label is free in the Nordic countries and costs 4.95 euros elsewhere. Refunds go \
back the way they were paid, within five working days. Tents have a warranty of three years, backpacks of five. \
We accept cards, PayPal, bank transfer and gift cards. Orders can be changed or cancelled until they are packed, \
usually within two hours. Boots of the Alder series run half a size small. The workshop in Malmo repairs what we \
sell. If the facts do not answer the question, say so and offer to pass it on to a colleague."""
_ORDERS = """You are the assistant of Fernway, a shop for outdoor equipment. The customer is signed in, and you \
can see their orders, parcels, invoices and loyalty account. Answer only about this customer's own orders, name \
the order number, and never promise a date that the carrier has not confirmed."""
_TRIAGE = """Sort the e-mail into one queue of the support desk. Reply with JSON only, with the keys "queue" \
(one of returns, delivery, payment, warranty, product, account, spam), "urgent" (true or false) and "reason" (at \
most ten words)."""
_SUMMARISE = "You are an assistant of the support desk at Fernway. Be exact with names, dates and amounts."
_AGENT = """You are the back-office agent of Fernway. Work step by step. You have the tools search_orders, \
search_tickets, get_stock, draft_mail and create_task. Say which tool you call next and with which arguments."""
_ASSIGNMENTS = (
    "Summarise this document in five bullet points.",
    "List every open action with the person responsible and the date.",
    "Which decisions are needed from us, and by when?",
    "Write a note of three sentences for the colleague who takes over.",
)
_STEPS = ("Plan the work before you start.", "The tools have answered. Write the result for the team.")


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the day. ``minute`` counts from midnight; ``runaway`` marks the calls of the loop."""

    minute: float
    user: str
    session: str
    endpoint: str
    system: str
    question: str
    max_tokens: int = 300
    stream: bool = False
    json: bool = False
    runaway: bool = False

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Roles and texts, as every LangChain chat model takes them."""
        return [("system", self.system), ("human", self.question)]


def support_day(*, seed: int = 7) -> list[Request]:
    """The whole day in order of time; the same ``seed`` makes the same day."""
    random = Random(seed)
    made = [*_faq(random), *_orders(random), *_triage(random), *_summaries(random), *_agent_tasks(random)]
    return sorted([*made, *_runaway_loop()], key=lambda request: request.minute)


def _faq(random: Random, *, requests: int = 136) -> Iterator[Request]:
    questions = [line.split(" | ") for line in _lines("faq.txt")]
    popularity = list(accumulate(1 / (rank + 4) for rank in range(len(questions))))
    for wordings in random.choices(questions, cum_weights=popularity, k=requests):
        others = wordings[1:]
        question = random.choice(others) if others and random.random() < 0.5 else wordings[0]
        yield _request(random, random.choice(CUSTOMERS), "/faq", _FAQ, question, stream=True)


def _orders(random: Random, *, requests: int = 84) -> Iterator[Request]:
    questions = _lines("orders.txt")
    for number in range(requests):
        user = random.choice(CUSTOMERS)
        order = f"{48_100 + 10 * CUSTOMERS.index(user) + random.randrange(5)}"
        question = questions[number % len(questions)].format(order=order)
        yield _request(random, user, "/orders", _ORDERS, question, stream=True)


def _triage(random: Random, *, from_machines: int = 24) -> Iterator[Request]:
    mails = _lines("tickets.txt")
    machines = [mail.removeprefix("! ") for mail in mails if mail.startswith("! ")]
    people = [mail for mail in mails if not mail.startswith("! ")]
    for mail in [*people, *random.choices(machines, k=from_machines)]:
        yield _request(random, random.choice(STAFF), "/triage", _TRIAGE, mail, max_tokens=80, json=True)


def _summaries(random: Random, *, requests: int = 26) -> Iterator[Request]:
    documents = _documents()
    for number in range(requests):
        document = documents[number % len(documents)]
        system = f"{_SUMMARISE}\n\n{document}"
        yield _request(random, random.choice(STAFF), "/summarise", system, random.choice(_ASSIGNMENTS))


def _agent_tasks(random: Random) -> Iterator[Request]:
    for task in _lines("agent.txt"):
        user = random.choice(STAFF)
        for step in _STEPS:
            yield _request(random, user, "/agent", _AGENT, f"{task}\n\n{step}")


def _runaway_loop(*, calls: int = LOOP_CALLS) -> Iterator[Request]:
    """A tool keeps timing out, and the agent keeps trying. The clock in its prompt makes every call a new one,
    for Costguard's cache and for the provider's."""
    handbook = next(document for document in _documents() if document.startswith("Handbook for the returns desk"))
    notes = ""
    for attempt in range(1, calls + 1):
        notes += (
            f"Attempt {attempt}: search_orders(status='return received', page_size={max(1, 100 - attempt)}) failed "
            f"with 504 gateway timeout after 30 seconds. I will try again with a smaller page.\n"
        )
        system = f"Current time: 14:{32 + attempt // 60}:{attempt % 60:02d}. {_AGENT}\n\n{handbook}"
        question = f"Refund every return that arrived in Malmo this morning.\n\nYour notes so far:\n{notes}"
        minute = 14 * 60 + 32 + attempt / 60
        yield Request(minute, RUNAWAY, f"{RUNAWAY}-1432", "/agent", system, question, runaway=True)


def _request(
    random: Random,
    user: str,
    endpoint: str,
    system: str,
    question: str,
    *,
    max_tokens: int = 300,
    stream: bool = False,
    json: bool = False,
) -> Request:
    minute = random.triangular(8 * 60, 18 * 60, 11 * 60)
    session = f"{user}-{minute // 60:.0f}"
    return Request(minute, user, session, endpoint, system, question, max_tokens, stream, json)


def _lines(name: str) -> list[str]:
    return [line for line in _text(name).splitlines() if line and not line.startswith("#")]


def _documents() -> Sequence[str]:
    return [
        _text(f"document-{name}.txt")
        for name in ("payment-incident", "warranty-thread", "carrier-call", "returns-handbook")
    ]


def _text(name: str) -> str:
    return (files("langchain_costguard.demo") / "data" / name).read_text(encoding="utf-8").strip()
