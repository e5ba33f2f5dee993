"""The semantic cache on the page: behind the token, as text, and a word on a pair changes what is served."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgi_server import serving
from chromium import chromium, chromium_binary

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.embeddings import WordLlamaEmbedding, fingerprint
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.existing import embedder
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import open_ledger
from costguard_core.types import Event, Outcome, Usage
from costguard_core.web.app import create_page
from costguard_core.web.cache_review import CacheReview
from costguard_core.web.serve import open_page, serve_page

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef"
ON, OFF = "How do I turn <i>notifications</i> on?", "How do I turn <i>notifications</i> off?"
RESET, FORGOT = "How do I reset my router password?", "How can I reset my router password?"
STORED = {
    ON: "<script>alert(1)</script> Open Settings and press the bell. {{ 7*7 }}",
    OFF: "<img src=x onerror=alert(1)> Choose Profile, then Mute everything. \x1b[31mred",
    RESET: "Press it.",
    FORGOT: "Call us. " + "x" * 3000,
}


def request(question: str) -> SemanticQuery:
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


@pytest.fixture(scope="module")
def embed() -> Any:
    return embedder("wordllama")


@pytest.fixture
def folder(tmp_path: Path, embed: Any) -> Path:
    with closing(
        ChromaIndex(tmp_path / "chroma", name=f"costguard-{fingerprint('local', WordLlamaEmbedding.name)}")
    ) as index:
        engine = SemanticEngine(index, decide="guarded")
        for question, text in STORED.items():
            engine.save(request(question), embed(question), Answer(payload=[text], choices=1), text)
        engine.flush()
    return tmp_path / "chroma"


@pytest.fixture
def page(folder: Path, tmp_path: Path) -> Iterator[str]:
    with open_ledger(f"sqlite:///{tmp_path}/calls.db") as ledger:
        ledger.append(Event("1", time.time(), Outcome.MISS, "gpt-4o", usage=Usage(input_tokens=1), cost=1))
    opened = open_page(db=f"{tmp_path}/calls.db", token=TOKEN, review=CacheReview(str(folder)))
    with serving(create_page(opened), lifespan="off") as url:
        yield url


@pytest.fixture
def visitor(page: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=page, follow_redirects=True, timeout=60) as client:
        client.post("/login", data={"token": TOKEN})
        yield client


def pair_of(text: str, question: str) -> str:
    found = re.search(rf'id="pair-(\w+)">(?:(?!id="pair-).)*?{re.escape(html.escape(question))}', text, re.DOTALL)
    assert found is not None
    return found[1]


def key_of(text: str) -> str:
    found = re.search(r'name="key" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_it_is_behind_the_token(page: str) -> None:
    assert httpx.get(f"{page}/cache").headers["location"] == "/login"
    assert httpx.post(f"{page}/cache/judge", data={"do": "refute"}).headers["location"] == "/login"


def test_without_a_token_nothing_is_shown(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--token"):
        serve_page(db=f"{tmp_path}/calls.db", review=CacheReview(str(folder)))
    with open_ledger(f"sqlite:///{tmp_path}/calls.db"):
        pass
    opened = open_page(db=f"{tmp_path}/calls.db", review=CacheReview(str(folder)))
    with serving(create_page(opened), lifespan="off") as url:
        answer = httpx.get(f"{url}/cache")
        assert answer.status_code == 400
        assert "router" not in answer.text
        assert "/cache" not in httpx.get(url).text


def test_near_questions_are_shown_with_both_answers_as_text(visitor: httpx.Client) -> None:
    assert 'href="/cache"' in visitor.get("/").text
    text = visitor.get("/cache").text
    assert "near miss" in text
    assert "opposites" in text
    for shown in (ON, OFF, RESET, FORGOT, STORED[ON]):
        assert html.escape(shown) in text
    for raw in ("<script>", "<img src=x", "\x1b", "x" * 700):
        assert raw not in text


def test_a_refuted_pair_is_never_served_and_the_page_says_what_changed(
    visitor: httpx.Client, folder: Path, embed: Any
) -> None:
    text = visitor.get("/cache").text
    told = visitor.post("/cache/judge", data={"key": key_of(text), "pair": pair_of(text, RESET), "do": "refute"}).text
    assert "Refuted: “How" in told
    assert "Now: refuted" in html.unescape(told)
    assert "1 refuted, 0 confirmed in all" in told
    with closing(ChromaIndex(folder, name=f"costguard-{fingerprint('local', WordLlamaEmbedding.name)}")) as index:
        engine = SemanticEngine(index, decide="guarded", threshold=0.5)
        for asked in (RESET, FORGOT):
            assert not engine.explain_without(request(asked), embed(asked)).hit


def test_a_confirmed_pair_counts_and_a_veto_stands(visitor: httpx.Client) -> None:
    text = visitor.get("/cache").text
    told = visitor.post("/cache/judge", data={"key": key_of(text), "pair": pair_of(text, RESET), "do": "confirm"}).text
    assert "Confirmed: “How" in told
    assert "0 refuted, 1 confirmed in all" in told
    told = visitor.post("/cache/judge", data={"key": key_of(text), "pair": pair_of(text, ON), "do": "confirm"}).text
    assert "opposites" in told[: told.index("li class")]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"key": "forged", "do": "refute"}, "too old"),
        ({"do": "refuse"}, "confirm, refute"),
        ({"do": "refute", "pair": "ffffffffffff"}, "not there any more"),
        ({"do": "refute", "pair": ""}, "not there any more"),
    ],
)
def test_what_is_no_form_of_this_page_changes_nothing(visitor: httpx.Client, form: dict[str, str], says: str) -> None:
    text = visitor.get("/cache").text
    answer = visitor.post("/cache/judge", data={"key": key_of(text), "pair": pair_of(text, RESET), **form})
    assert answer.status_code == 400
    assert says in html.unescape(answer.text)
    assert "0 refuted" not in visitor.get("/cache").text
    assert pair_of(visitor.get("/cache").text, RESET) == pair_of(text, RESET)


def test_a_cache_that_is_not_there_says_so(tmp_path: Path) -> None:
    with open_ledger(f"sqlite:///{tmp_path}/calls.db"):
        pass
    opened = open_page(db=f"{tmp_path}/calls.db", token=TOKEN, review=CacheReview(str(tmp_path / "none")))
    with serving(create_page(opened), lifespan="off") as url:
        answer = httpx.get(f"{url}/cache", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 400
        assert "there is no semantic cache" in answer.text


@pytest.mark.skipif(chromium_binary() is None, reason="no Chromium: make browser installs one, or set CHROMIUM")
def test_in_a_browser_a_pair_is_refuted_by_its_button_and_nothing_is_injected(page: str) -> None:
    binary = chromium_binary()
    assert binary is not None
    with chromium(binary) as tab:
        tab.show(width=400)
        tab.open(f"{page}/login")
        tab.value(f"document.querySelector('input[name=token]').value = '{TOKEN}'")
        tab.value("document.querySelector('form button, form').closest('form').requestSubmit()")
        tab.wait_for("location.pathname === '/' && document.readyState === 'complete'")
        tab.open(f"{page}/cache")
        assert tab.value("document.querySelectorAll('main img, main svg, main i, [onerror], main script').length") == 0
        assert tab.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        pairs = tab.value("document.querySelectorAll('li.pair').length")
        assert pairs >= 2
        tab.value("document.querySelector('li.pair button[value=refute]').click()")
        tab.wait_for("location.search.startsWith('?told=') && document.getElementById('told') !== null")
        assert "Refuted" in tab.value("document.getElementById('told').innerText")
        assert tab.complaints == []
