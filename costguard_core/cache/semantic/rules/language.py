"""Is this text English? The vetoes and the comparator read English: of another language they must not say that nothing
speaks against it."""

# ruff: noqa: E501, RUF001 -- lists of words
from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS

_WORD = re.compile(r"[^\W\d_]+")
_FARTHEST_LATIN = 0x24F
# Frequent words of other languages in Latin letters that are no English words.
_FOREIGN = frozenset(
    """
    der das den dem des ein eine einen einem einer ich du wir ihr sie und oder nicht kein keine keinen mein meine meinen mit ohne
    ist sind wie wo wann warum welche welcher kann kannst darf muss gibt viel viele von nach zu zum zur auf aus bei bis für über
    le les un une du et ou je tu il nous vous mon ma mes est sont avec sans pour dans sur quel quelle comment quand pourquoi où
    combien que qui pas ne puis peux peut au aux cette ces
    el los las una unos y o yo mi mis con sin para por como cómo cuando cuándo donde dónde qué cuál cuánto cuántos cuesta cuestan
    puedo puede es son del al se si está hay
    lo gli uno di e il io mio mia posso può senza come quando dove quanto quanti perché che non è sono della dello nel
    os uma eu meu minha posso pode com sem não é são como quando onde quanto porque da em
    het een ik mijn en niet geen met zonder hoe waar wanneer waarom hoeveel naar van voor zijn
    jag och inte att är hur när var mitt min utan med på jeg ikke hvordan hvor uten og en ett
    nie jest czy jak gdzie kiedy mogę bez z na moje w
    ve bir bu ne nasıl nerede benim için değil mi
    """.split()
) - set(
    "min var o e z y w mi en du le la ma il al el com yo las come son bu des si no se die a un al se med ett me are sur".split()
)


@lru_cache(maxsize=4096)
def is_english(text: str) -> bool:
    """No letters of another script, and no more words of another language than of English. Key words alone pass."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    if any(_is_of_another_script(word) for word in words):
        return False
    foreign = sum(word in _FOREIGN for word in words)
    english = sum(word in FUNCTION_WORDS and word not in _FOREIGN for word in words)
    accented = sum(not word.isascii() for word in words)
    return foreign <= english if foreign else not (accented and not english)


def _is_of_another_script(word: str) -> bool:
    """Two letters or more: one is a symbol ("µ", "π")."""
    return sum(ord(letter) > _FARTHEST_LATIN for letter in word) > (len(word) > 1)
