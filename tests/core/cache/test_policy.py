"""Which requests and answers may be cached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from cpu_limit import cpu_limit

from costguard_core.cache import (
    Answer,
    CacheKey,
    CachePolicy,
    Classification,
    Request,
    Uncacheable,
    cache_control,
    classify,
    current_control,
    is_dynamic,
    is_personal,
)
from costguard_core.errors import ConfigurationError
from costguard_core.types import Attribution

EVERYBODY = [
    "What is the capital of France?",
    "How do I reset my password?",
    "How can I cancel my subscription?",
    "Can I change my delivery address?",
    "What are your opening hours?",
    "Explain what an order book is.",
    "Translate 'the account is closed' into German.",
    "What is the time complexity of quicksort?",
    "What is the date format in ISO 8601?",
    "Summarise the plot of Hamlet.",
    "Write a function that sorts a list.",
    "How many planets are there?",
    "What does HTTP status 404 mean?",
    "Who wrote 1984?",
    "Convert 100 USD to words.",
    "hi",
    "How long does a refund take?",
    "Sample prompt for testing.",
    "Is the sky blue?",
    "What happened in 1066?",
    "My favourite colour is blue. What goes with it?",
]
PERSONAL = [
    "Where is my order?",
    "Where is my last order?",
    "What is the status of order 11823?",
    "What's my account balance?",
    "Order #4417 has not arrived",
    "Send it to jane.doe@example.org",
    "Call me on +49 170 1234567",
    "My phone is (555) 123-4567",
    "Who am I?",
    "Have I been charged twice?",
    "Am I eligible for a discount?",
    "Why was my payment declined?",
    "Cancel my booking",
    "Is 4111 1111 1111 1111 a valid card?",
    "How do I get a refund for invoice INV-20331?",
    "What is my name?",
]
DYNAMIC = [
    "What is the weather in Paris?",
    "What's the weather like today?",
    "What time is it?",
    "What is the date?",
    "What's the latest version of Python?",
    "Who is the current president of France?",
    "Current price of bitcoin?",
    "What is the stock price of ACME?",
    "Is the service down right now?",
    "Any news this week?",
    "What happened yesterday?",
    "How many tickets are open as of now?",
    "Is the store open now?",
    "Has anything changed in the last 24 hours?",
    "Who is winning?",
    "What are today's deals?",
]


# Written to get past the rules, which have been widened since.
PERSONAL += [
    "Tell me about the parcel I sent",
    "What did we agree on last week?",
    "Did you get my message?",
    "How much do I owe?",
    "When will the technician visit us?",
    "What's in our fridge?",
    "Show the invoices from March",
    "Which plan am I on?",
    "Is my card blocked?",
    "Remind me what I said",
    "How many vacation days are left?",
    "Has the package arrived yet?",
    "Has the refund been issued?",
    "Why did I get this letter?",
    "Who is my account manager?",
    "What medication am I taking?",
    "Give me the balance",
    "Reset the password for jane@example.com",
    "What was the last thing I ordered?",
    "Which documents have been uploaded to the account?",
    "when does mine expire",
    "cancel the subscription for customer 88123",
    "Do they have my number?",
    "Who approved the expense?",
    "Could you check whether the payment went through?",
    "Did anyone reply to my ticket?",
    "What's the tracking number?",
    "Where did we leave off?",
    "Am I still subscribed?",
    "Summarise our conversation so far",
    "What's my doctor's name?",
    "I forgot my password",
    "Change the delivery address to 5 Main St",
    "What did the lab results say?",
    "How long have I been a member?",
    "who else is in my household",
    "Whose turn is it?",
    "Give me a summary of the last call with Anna",
    "Did the courier leave it with the neighbour?",
    "What are the terms of the contract I signed?",
    "Is there anything in the inbox?",
    "How much did lunch cost me?",
    "Was I overcharged?",
    "Book the same room again",
    "What's on the shopping list?",
    "How did I do on the test?",
    "When was I last paid?",
    "Can you see my screen?",
    "What size did I buy last time?",
]
DYNAMIC += [
    "Who won the match?",
    "Is the service down?",
    "What's the score?",
    "Any news?",
    "How is the traffic on the M25?",
    "Is it raining?",
    "Are trains running?",
    "What is the current price of bitcoin?",
    "Who is the president of France?",
    "What's trending?",
    "When is the next train to Paris?",
    "Is the store open?",
    "Latest iPhone model?",
    "How many days until Christmas?",
    "What is AAPL trading at?",
    "Is the website working again?",
    "Has the strike ended?",
    "What year is it?",
    "Did the Fed raise rates?",
    "How old is Joe Biden?",
    "What's on TV tonight?",
    "Which version of Python is newest?",
    "Is there a queue at the moment?",
    "Are there any open incidents?",
    "What is the exchange rate of EUR to USD?",
    "how busy is the office",
    "Who leads the league?",
    "Is the pool heated today?",
    "When does the sun set?",
    "Who is the CEO of Twitter?",
    "is flight LH400 delayed",
    "What's new in version 3?",
    "Is Amazon down?",
    "Who's the prime minister of Japan?",
    "How many followers does Taylor Swift have?",
    "What's the population of Germany right now?",
    "What films are showing?",
    "Is the M4 closed?",
    "Are flights from Heathrow delayed?",
    "What's Tesla worth?",
    "Is GitHub having problems?",
    "Who won?",
    "What is the minimum wage?",
    "What is the mortgage rate?",
    "Are there any vacancies in London?",
    "When's the next full moon?",
    "Which team is top of the table?",
    "What happened in Syria?",
    "Is Brad Pitt married?",
    "Where is the Pope?",
    "Has Apple released iOS 20?",
    "What's the deadline?",
    "What is the interest rate of the ECB?",
    "Is it dark outside?",
    "what's for lunch in the canteen",
    "who is on call",
    "Is the lift working?",
    "How many people work at Google?",
    "is the printer jammed",
    "What's the queue like?",
    "Any openings on Thursday?",
]
OTHER_LANGUAGES = [
    "Wo ist meine Bestellung?",
    "¿Dónde está mi pedido?",
    "Où est ma commande ?",
    "我的订单在哪里?",
    "私の注文はどこですか?",
    "Где мой заказ?",
    "أين طلبي؟",
    "Siparişim nerede?",
    "Meu pedido chegou?",
    "Dov'è il mio ordine?",
    "Waar is mijn bestelling?",
    "मेरा ऑर्डर कहाँ है?",
    "Jaki jest stan mojego konta?",
    "Mitt konto",
    "주문 어디 있나요?",
    "Wie ist das Wetter?",
    "Quel temps fait-il ?",
    "¿Quién ganó el partido?",
    "今天天气怎么样?",
    "Который час?",
    "Wie spät ist es?",
    "Che tempo fa?",
    "Hoeveel kost bitcoin nu?",
]
EVERYBODY += [
    "Who invented the telephone?",
    "How old is the universe?",
    "What happened in 1989 in Berlin?",
    "How many people fit into a lift?",
    "How long does rice keep in the fridge?",
    "Who was the first president of the United States?",
    "Can I change the delivery address?",
    "How do I cancel a booking?",
    "What is the best way to unlock a phone?",
]


@pytest.mark.parametrize("question", EVERYBODY)
def test_common_questions_are_cached(question: str) -> None:
    assert not is_personal(question)
    assert not is_dynamic(question)


@pytest.mark.parametrize("question", PERSONAL)
def test_personal_questions_are_recognised(question: str) -> None:
    assert is_personal(question)


@pytest.mark.parametrize("question", OTHER_LANGUAGES)
def test_in_other_languages_they_are_not_shared_with_everybody(question: str) -> None:
    assert classify(question) != Classification()


@pytest.mark.parametrize("question", DYNAMIC)
def test_questions_that_depend_on_the_time_are_recognised(question: str) -> None:
    assert is_dynamic(question)


def test_the_words_of_a_long_document_are_not_the_question() -> None:
    document = "It is raining. " * 50 + "The weather in Paris today is fine. " + "It is raining. " * 50
    assert not is_dynamic(document)
    assert is_dynamic(document + "\nQuestion: what is the weather today?")


def test_only_the_ends_of_a_long_text_are_read() -> None:
    filler = "word " * 200
    for question in (PERSONAL[0], DYNAMIC[0]):
        assert is_personal(question) or is_dynamic(question)
        hidden = f"{filler}{question} {filler}"
        assert (is_personal(hidden), is_dynamic(hidden)) == (False, False)


@pytest.mark.parametrize(
    "unit", ["a", "my ", "1234 ", "is ", "+1 ", "my my ", "order ", "is a ", "12 34-", "A1", "a@", "("]
)
def test_hostile_text_is_decided_in_bounded_time(unit: str) -> None:
    with cpu_limit(2.0):  # measured: below 0.01 s for the whole loop
        for text in (unit * 100_000, unit * 200 + "1" * 600, "1" * 600 + unit * 200, "?" + unit * 100 + "!" * 300):
            is_personal(text)
            is_dynamic(text)


def _key(policy: CachePolicy = CachePolicy(), **request: Any) -> CacheKey | Uncacheable:
    return policy.key(Request(digest="d", **request).classified())


def test_a_personal_question_needs_a_known_user_in_the_scope() -> None:
    ask: dict[str, Any] = {"question": "Where is my order?"}
    private = CachePolicy(scope=("tenant", "user"))
    assert isinstance(_key(**ask), Uncacheable)
    assert isinstance(_key(private, **ask), Uncacheable)
    one = _key(private, **ask, attribution=Attribution(user="u1"))
    other = _key(private, **ask, attribution=Attribution(user="u2"))
    assert isinstance(one, CacheKey)
    assert isinstance(other, CacheKey)
    assert one.digest != other.digest
    assert isinstance(_key(CachePolicy(cache_personal=True), **ask), CacheKey)


def test_a_question_of_the_moment_is_cached_only_on_demand() -> None:
    ask: dict[str, Any] = {"question": "What time is it?"}
    assert _key(**ask) == Uncacheable("the answer depends on the time")
    assert isinstance(_key(CachePolicy(cache_dynamic=True), **ask), CacheKey)
    assert isinstance(_key(live_tools=True), Uncacheable)


def test_variety_is_not_cached() -> None:
    assert isinstance(_key(temperature=None), CacheKey)
    assert isinstance(_key(temperature=1.0), CacheKey)
    assert isinstance(_key(temperature=1.2), Uncacheable)
    assert isinstance(_key(CachePolicy(max_temperature=0.0), temperature=0.1), Uncacheable)
    assert isinstance(_key(CachePolicy(max_temperature=None), temperature=2.0), CacheKey)


def test_own_predicates_decline_and_are_named() -> None:
    def about_pineapple(request: Request) -> bool:
        return "pineapple" in request.question

    policy = CachePolicy(never_cache=(about_pineapple,))
    assert _key(policy, question="pineapple pizza?") == Uncacheable("never_cache: about_pineapple")
    assert isinstance(_key(policy, question="pizza?"), CacheKey)


def test_control_nests_and_ends() -> None:
    with cache_control(no_cache=True):
        assert _key() == Uncacheable("no_cache")
        with cache_control(no_cache=False, refresh=True, ttl=5):
            key = _key()
            assert isinstance(key, CacheKey)
            assert (key.lookup, key.ttl) == (False, 5)
        assert current_control().no_cache
    assert _key() == _key(CachePolicy())
    assert not current_control().no_cache


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, None),
        ({"finish": ("stop",)}, None),
        ({"finish": ("tool_calls",)}, None),
        ({"finish": ("end_turn",)}, None),
        ({"finish": ("length",)}, "the answer is not complete"),
        ({"finish": ("stop", "max_tokens")}, "the answer is not complete"),
        ({"finish": ("MAX_TOKENS",)}, "the answer is not complete"),
        ({"finish": ("content_filter",)}, "the answer is not complete"),
        ({"finish": ("incomplete",)}, "the answer is not complete"),
        ({"refused": True}, "a refusal"),
        ({"empty": True}, "an empty answer"),
    ],
)
def test_answers_that_are_not_worth_repeating(answer: Mapping[str, Any], reason: str | None) -> None:
    assert CachePolicy().rejects(Answer("x", **answer), choices=1, size=100) == reason


def test_sizes_and_choices() -> None:
    policy = CachePolicy(min_bytes=10, max_bytes=100)
    assert policy.rejects(Answer("x"), choices=1, size=10) is None
    assert policy.rejects(Answer("x"), choices=1, size=9) == "9 bytes is outside 10..100"
    assert policy.rejects(Answer("x"), choices=1, size=101) == "101 bytes is outside 10..100"
    assert policy.rejects(Answer("x", choices=2), choices=3, size=50) == "fewer answers than choices"
    assert isinstance(_key(CachePolicy(max_choices=2), choices=3), Uncacheable)


def test_ttl_by_tag_takes_the_shortest() -> None:
    policy = CachePolicy(ttl=3600, ttl_by={"endpoint=/news": 60, "model=m": 600})

    def ttl(**who: Any) -> float | None:
        key = policy.key(Request(digest="d", model="m", attribution=Attribution(**who)))
        assert isinstance(key, CacheKey)
        return key.ttl

    assert ttl(endpoint="/news") == 60
    assert ttl(endpoint="/other") == 600


@pytest.mark.parametrize(
    "options",
    [
        {"scope": ("tenent",)},
        {"scope": ("documents",)},
        {"ttl_jitter": 1.0},
        {"ttl": -5},
        {"ttl_by": {"model=m": float("nan")}},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CachePolicy(**options)
