"""The web application that the trials of workers run: one guarded model, told by the environment where everything is.

``uvicorn _app:asgi`` serves it asynchronously, ``gunicorn _app:wsgi`` with one process or thread per request. ``GET
/ask?user=…`` makes one call and answers 200, 429 (refused by a budget) or 503 (the counters could not be asked).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import httpx
from _trial import ANSWER_TOKENS, MODEL, PRICES
from langchain_openai import ChatOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from langchain_costguard import CostGuard, GuardedChatModel, SpendLimitExceeded, attribute

guard = CostGuard(
    json.loads(os.environ["TRIAL_BUDGETS"]),
    store=os.environ["TRIAL_STORE"],
    ledger=os.environ["TRIAL_LEDGER"],
    prices=PRICES,
    lease=float(os.environ["TRIAL_LEASE"]),
)


def guarded_model(**options: Any) -> GuardedChatModel:
    client = ChatOpenAI(
        model=MODEL,
        base_url=os.environ["TRIAL_PROVIDER"],
        api_key="simulated",
        max_tokens=ANSWER_TOKENS,
        max_retries=0,
        timeout=120,
        **options,
    )
    return GuardedChatModel(client, guard, cache=False)


model = guarded_model()
if os.environ.get("TRIAL_ASK_AT_ONCE"):
    # With --preload the guard's connections and threads are there before the fork. The provider's client must not have
    # made a call by then: the processes would share its kept-alive connection and read each other's answers. So this
    # call has a client of its own (langchain-openai shares one among all models otherwise).
    with attribute(user="preload"), httpx.Client() as client:
        guarded_model(http_client=client).invoke("Is everybody there?", extra_headers={"x-worker": "0"})


def whoami() -> dict[str, str]:
    """Tells the provider which process asks, so that the trial can kill one that has calls in flight."""
    return {"x-worker": str(os.getpid())}


def answered(text: object) -> tuple[int, dict[str, Any]]:
    return 200, {"text": text, "pid": os.getpid()}


def refused(error: Exception) -> tuple[int, dict[str, Any]]:
    if isinstance(error, SpendLimitExceeded):
        return 429, {"text": error.public, "pid": os.getpid()}
    return 503, {"text": f"{type(error).__name__}: {error}", "pid": os.getpid()}


async def ask(request: Request) -> JSONResponse:
    try:
        with attribute(user=request.query_params.get("user")):
            status, body = answered((await model.ainvoke("How are you?", extra_headers=whoami())).content)
    except Exception as error:
        status, body = refused(error)
    return JSONResponse(body, status)


asgi = Starlette(routes=[Route("/ask", ask)])


def wsgi(environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """The same for servers with a process or a thread per request."""
    user = parse_qs(environ.get("QUERY_STRING", "")).get("user", [None])[0]
    try:
        with attribute(user=user):
            status, body = answered(model.invoke("How are you?", extra_headers=whoami()).content)
    except Exception as error:
        status, body = refused(error)
    start(f"{status} -", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
