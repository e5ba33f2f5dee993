"""Which questions have one answer for everybody, and which do not, in English and elsewhere."""

from __future__ import annotations

import pytest

from costguard_core.attribution import attribute
from costguard_core.cache import CacheKey, CachePolicy, Request, Uncacheable, classify
from costguard_core.cache.language.detection import is_english, language_of
from costguard_core.cache.policy import is_dynamic, is_personal
from costguard_core.types import Attribution

PERSONAL = [
    "MY REFUND IS STILL MISSING",
    "my new card hasn't come yet, what is going wrong?",
    "I was billed twice for one ride, why?",
    "let me know whether my visa application went through",
    "Tell me about the suitcase I checked in at Lyon",
    "When will the courier arrive?",
    "Has the deposit been paid back?",
    "show me all open tickets",
    "Why did I get a late fee?",
    "How much do I owe?",
    "I lost access to the app",
    "where is the package",
    "any missed deliveries?",
    "print the most recent statement",
    "what was that restaurant called",
    "which room is the interview in",
    "who reviewed PR 4512?",
]
DYNAMIC = [
    "Is the website down?",
    "are the servers slow?",
    "Who won the election?",
    "Which team is leading?",
    "will it rain on saturday",
    "how busy is the gym",
    "when is the next train to Basel",
    "how much is one euro in dollars",
    "is the pool open yet",
    "is the vpn slow for everybody",
    "which terminal does EK201 arrive at",
    "has AF 1680 boarded",
    "how did the rollout go",
    "what broke the nightly job",
    "who is picking up the guests",
    "which hosts are over 90% memory",
    "how much disk is free on db-3",
    "is there parking left",
    "is Anna back from lunch",
]
GENERAL = [
    "How do I update my billing address?",
    "Can I keep my number if I change plans?",
    "What happens if I miss a payment?",
    "My passport is lost, what should I do?",
    "Is the museum open on public holidays?",
    "Who won the 1998 World Cup?",
    "How long do deliveries usually take?",
    "Do I need a visa for Japan?",
    "What documents do I need to open an account?",
    "Is it safe to freeze cooked rice?",
    "Are pets allowed in the cabin?",
    "where can I upload my tax form",
    "How do I see the last five commits in git?",
    "What does ISO 9001 cover?",
    "How do I list the latest tags?",
    "What is the gate of a transistor?",
    "How did the Roman Empire end in 476?",
]
# Of who asks, or of now, in languages of which general questions are known.
OTHERS_SPECIFIC = [
    "Wann kommt mein Paket an?",
    "Wie ist das Wetter heute?",
    "¿Por qué me han cobrado dos veces?",
    "Où est mon colis ?",
    "Dove si trova il mio pacco?",
    "Quando chega a minha encomenda?",
    "Waar blijft mijn pakket?",
]
OTHERS_GENERAL = [
    "Wie ändere ich die Lieferadresse?",
    "Wie lange dauert eine Rückerstattung?",
    "¿Cómo devuelvo un artículo?",
    "Comment annuler une commande ?",
    "Come posso cambiare la password?",
    "Como posso cancelar uma reserva?",
    "Como faço para cancelar um pedido?",
    "Hoe kan ik een bestelling annuleren?",
]
UNREAD = [
    "Gdzie jest moja paczka?",
    "Siparişim nerede?",
    "Где мой заказ?",
    "私の注文はどこですか",
    "Kreditkarte sperren",
    # With words that are English ones too.
    "Qui a gagné ?",
    "Chi ha vinto la partita?",
    "Minu tellimus kus on?",
    "Unde este comanda mea?",
    "Quem ganhou o jogo?",
]


@pytest.mark.parametrize("question", PERSONAL)
def test_what_is_about_the_asker_is_personal(question: str) -> None:
    assert is_personal(question)


@pytest.mark.parametrize("question", DYNAMIC)
def test_what_is_about_now_is_dynamic(question: str) -> None:
    assert is_dynamic(question)


@pytest.mark.parametrize("question", GENERAL)
def test_what_has_one_answer_for_everybody_is_neither(question: str) -> None:
    assert not any(classify(question))


@pytest.mark.parametrize("question", OTHERS_GENERAL)
def test_general_questions_in_other_languages_are_read(question: str) -> None:
    assert not any(classify(question))


@pytest.mark.parametrize("question", [*OTHERS_SPECIFIC, *UNREAD])
def test_other_questions_in_other_languages_are_not(question: str) -> None:
    assert any(classify(question))


@pytest.mark.parametrize("text", ["", "42", "2 + 2 = ?", "{'a': 1}", "https://example.com/a?b=c", "OK 👍"])
def test_what_has_no_words_is_in_no_other_language(text: str) -> None:
    assert not classify(text).unread


@pytest.mark.parametrize(
    "text", ["refund policy", "reset the kubectl contxt", "is doxycycline safe", "pay with Klarna"]
)
def test_names_terms_and_typing_errors_make_english_no_other_language(text: str) -> None:
    assert is_english(text)


def test_languages_are_told_by_their_frequent_words() -> None:
    assert language_of("Wie kann ich mein Konto löschen?") == "de"
    assert language_of("¿Cómo puedo cerrar mi cuenta?") == "es"
    assert language_of("Где мой заказ?") is None


def test_what_cannot_be_read_is_shared_with_nobody_else() -> None:
    def key(user: str | None, policy: CachePolicy = CachePolicy()) -> CacheKey | Uncacheable:  # noqa: B008
        return policy.key(Request("d", question="Wo ist meine Karte?", attribution=Attribution(user=user)).classified())

    ann, bob = key("ann"), key("bob")
    assert isinstance(ann, CacheKey)
    assert isinstance(bob, CacheKey)
    assert ann.digest == key("ann").digest != bob.digest  # type: ignore[union-attr]
    assert key(None) == Uncacheable("a language that the rules do not read, and no user is known")
    for_all = CachePolicy(cache_personal=True)
    assert key("ann", for_all) == key("bob", for_all)._replace(tags=key("ann", for_all).tags)  # type: ignore[union-attr]


def test_attribution_in_a_block_counts_too() -> None:
    with attribute(user="ann") as who:
        request = Request("d", question="Où est mon colis ?", attribution=who).classified()
        assert isinstance(CachePolicy().key(request), CacheKey)


@pytest.mark.parametrize(
    ("question", "personal"),
    [
        ("What is the return policy?", False),
        ("What is the cancellation policy?", False),
        ("What are the shipping costs?", False),
        ("What is the status of the order?", True),
        ("What was the last invoice?", True),
        ("Has the parcel arrived?", True),
    ],
)
def test_a_rule_of_the_house_is_for_everybody_and_the_state_of_an_order_is_not(question: str, personal: bool) -> None:
    assert is_personal(question) is personal


def test_sharing_a_price_list_is_not_about_a_share_price() -> None:
    assert not is_dynamic("How do I share the price list?")
    assert is_dynamic("What is the share price of Apple?")
