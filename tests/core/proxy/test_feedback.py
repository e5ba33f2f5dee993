"""What clients say of answers: a hit is refuted or confirmed by whoever got it, whichever process is asked."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from waiting import wait_until

from costguard_core.proxy.callers import Caller
from costguard_core.proxy.feedback import SECRET, AnswerNames
from costguard_core.proxy.keys import open_key_store
from costguard_core.simulate import Simulator
from costguard_core.types import Attribution

SEMANTIC: Any = {"embeddings": "wordllama", "decide": "guarded", "threshold": 0.9}
ASKED, REWORDED = "How do I reset my wifi router?", "how can I reset my wifi router"


def _ask(proxy: Any, text: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}
    answer = httpx.post(f"{proxy.base_url}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def _tell(proxy: Any, headers: dict[str, str], **said: Any) -> httpx.Response:
    return httpx.post(f"{proxy.url}/costguard/v1/feedback", content=json.dumps(said), headers=headers, timeout=60)


def _hit(proxy: Any, headers: dict[str, str], **more: Any) -> str:
    """The name of a hit that ``headers`` got."""
    _ask(proxy, ASKED, headers, **more)
    wait_until(lambda: proxy.app._caches.semantic.stats().stored == 1)
    answer = _ask(proxy, REWORDED, headers, **more)
    assert answer.headers["x-costguard-cache"] == "semantic"
    return answer.headers["x-costguard-hit"]


@pytest.fixture
def keys(tmp_path: Any) -> Any:
    return open_key_store(f"sqlite:///{tmp_path}/keys.db")


def _bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_a_refuted_hit_is_not_served_again(openai_server: Simulator, start_proxy: Any, keys: Any) -> None:
    proxy = start_proxy(semantic=SEMANTIC, cache=False, keys=keys)
    mine = _bearer(keys.create({"user": "u1"})[0])
    hit = _hit(proxy, mine)
    assert _tell(proxy, mine, hit=hit, right=False).json() == {"status": "ok"}
    assert _ask(proxy, REWORDED, mine).headers["x-costguard-cache"] == "miss"
    assert proxy.app._caches.semantic.stats().refuted == 1


def test_a_confirmed_hit_is_counted_and_served_again(openai_server: Simulator, start_proxy: Any, keys: Any) -> None:
    proxy = start_proxy(semantic=SEMANTIC, cache=False, keys=keys)
    mine = _bearer(keys.create({"user": "u1"})[0])
    hit = _hit(proxy, mine)
    assert _tell(proxy, mine, hit=hit, right=True).status_code == 200
    assert proxy.app._caches.semantic.stats().confirmed == 1
    assert _ask(proxy, REWORDED, mine).headers["x-costguard-cache"] == "semantic"


def test_an_answer_that_is_wrong_everywhere_is_deleted(openai_server: Simulator, start_proxy: Any, keys: Any) -> None:
    proxy = start_proxy(semantic=SEMANTIC, cache=False, keys=keys)
    mine = _bearer(keys.create({"user": "u1"})[0])
    hit = _hit(proxy, mine)
    assert _tell(proxy, mine, hit=hit, right=False, everywhere=True).status_code == 200
    assert _ask(proxy, ASKED, mine).headers["x-costguard-cache"] == "miss"


@pytest.mark.parametrize("share", [False, True])
def test_nobody_refutes_what_another_caller_or_tenant_got(
    openai_server: Simulator, start_proxy: Any, keys: Any, share: bool
) -> None:
    proxy = start_proxy(semantic=SEMANTIC, cache=False, keys=keys, share=share)
    mine = _bearer(keys.create({"tenant": "t1"})[0])
    hit = _hit(proxy, mine)
    other = _bearer(keys.create({"tenant": "t2"})[0])
    for headers, status in ((other, 404), ({}, 401), (_bearer("cg-made-up"), 401)):
        assert _tell(proxy, headers, hit=hit, right=False).status_code == status
    forged = hit[:-4] + ("AAAA" if hit[-4:] != "AAAA" else "BBBB")
    for name in (forged, "", "x" * 10_000, "\u20ac", hit[:40]):
        answer = _tell(proxy, mine, hit=name, right=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_answer")
    assert _ask(proxy, REWORDED, mine).headers["x-costguard-cache"] == "semantic"
    assert proxy.app._caches.semantic.stats().refuted == 0


def test_a_tenant_that_calls_name_in_their_metadata_is_named_there_in_feedback(
    openai_server: Simulator, start_proxy: Any
) -> None:
    proxy = start_proxy(semantic=SEMANTIC, cache=False)
    mine = _bearer("sk-mine")
    hit = _hit(proxy, mine, metadata={"tenant": "t1"})
    told: tuple[dict[str, Any], ...] = ({}, {"metadata": {"tenant": "t2"}}, {"metadata": {"tenant": "t1"}})
    assert [_tell(proxy, mine, hit=hit, right=False, **more).status_code for more in told] == [404, 404, 200]
    assert proxy.app._caches.semantic.stats().refuted == 1


def test_another_process_refutes_what_it_did_not_serve(
    openai_server: Simulator, start_proxy: Any, keys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv(SECRET, "shared by the processes")
    first, second = (start_proxy(semantic=SEMANTIC, cache=False, keys=keys) for _ in range(2))
    engines = [proxy.app._caches.semantic.engine for proxy in (first, second)]
    engines[1].index = engines[0].index  # as a Chroma server would be
    mine = _bearer(keys.create({"user": "u1"})[0])
    hit = _hit(first, mine)
    for _ in range(2):
        assert _tell(second, mine, hit=hit, right=False).status_code == 200
    assert second.app._caches.semantic.stats().refuted == 1
    assert _ask(first, REWORDED, mine).headers["x-costguard-cache"] == "miss"  # whom nobody told
    assert openai_server.count == 2


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"hit": "x"},
        {"hit": 5, "right": False},
        {"hit": "x", "right": "no"},
        {"hit": "x", "right": False, "everywhere": "yes"},
        {"hit": "x", "right": False, "evrywhere": True},
        {"sample": "x"},
        {"sample": "x", "quality": 2},
        {"sample": "x", "quality": True},
        {"sample": "x", "quality": 1, "hit": "y"},
        {"sample": "x" * 201, "quality": 1},
        {"sample": "\ud800", "quality": 1},
    ],
)
def test_feedback_that_is_none_is_told_what_it_should_be(said: dict[str, Any], start_proxy: Any) -> None:
    answer = _tell(start_proxy(), {}, **said)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_feedback")
    assert "everywhere" in answer.text or "x-costguard-hit" in answer.text


def test_without_caches_and_routers_there_is_nothing_to_say(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy()
    assert _tell(proxy, {}, hit="x", right=True).status_code == 404
    assert _tell(proxy, {}, sample="x", quality=1).status_code == 404
    assert httpx.get(f"{proxy.url}/costguard/v1/feedback").status_code == 404
    assert openai_server.count == 0


def test_names_of_another_secret_open_nothing() -> None:
    caller = Caller(Attribution(tenant="t"), None, "r")
    assert AnswerNames("a").open("A" * 112, caller) is None
