"""A local server that speaks the billing reports of OpenAI and Anthropic, with pages, limits on the rate and faults."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

DAY = 86_400
KEY = "sk-admin-of-a-test"


@dataclass
class Answer:
    """One answer that is sent instead of a report."""

    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


class BillingServer:
    """Serves ``results`` by path and day; ``page_days`` days on a page. ``instead`` are answers to send before."""

    def __init__(self, *, page_days: int = 31) -> None:
        self.page_days = page_days
        self.results: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        self.instead: deque[Answer] = deque()
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def openai_cost(self, day: str, line_item: str, dollars: object, quantity: float | None = None) -> None:
        result = {
            "object": "organization.costs.result",
            "amount": {"value": dollars, "currency": "usd"},
            "line_item": line_item,
            "project_id": None,
            "quantity": quantity,
        }
        self.results["/v1/organization/costs"][day].append(result)

    def openai_usage(self, day: str, model: str, *, kind: str = "completions", **counts: Any) -> None:
        result = {"object": f"organization.usage.{kind}.result", "model": model, "batch": False, **counts}
        self.results[f"/v1/organization/usage/{kind}"][day].append(result)

    def anthropic_cost(self, day: str, model: str | None, token_type: str | None, cents: str, **values: Any) -> None:
        result = {
            "currency": "USD",
            "amount": cents,
            "workspace_id": None,
            "description": "Usage",
            "cost_type": "tokens",
            "context_window": "0-200k",
            "model": model,
            "service_tier": "standard",
            "token_type": token_type,
            **values,
        }
        self.results["/v1/organizations/cost_report"][day].append(result)

    def anthropic_usage(self, day: str, model: str, **values: Any) -> None:
        result = {
            "uncached_input_tokens": 0,
            "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
            "server_tool_use": {"web_search_requests": 0},
            "workspace_id": None,
            "model": model,
            "service_tier": "standard",
            **values,
        }
        self.results["/v1/organizations/usage_report/messages"][day].append(result)

    def report(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """One page, as the two APIs send it: days without usage have empty results."""
        is_openai = path.startswith("/v1/organization/")
        if is_openai:
            start, end = int(query["start_time"][0]), int(query["end_time"][0])
        else:
            start, end = (
                int(datetime.fromisoformat(query[name][0]).timestamp()) for name in ("starting_at", "ending_at")
            )
        most = min(self.page_days, int(query["limit"][0]))
        first = int(query["page"][0].removeprefix("page_")) if "page" in query else start - start % DAY
        days = list(range(first, end, DAY))
        data = [self._bucket(path, day, is_openai=is_openai) for day in days[:most]]
        more = len(days) > most
        return {"object": "page", "data": data, "has_more": more, "next_page": f"page_{days[most]}" if more else None}

    def _bucket(self, path: str, day: int, *, is_openai: bool) -> dict[str, Any]:
        begun, ended = (datetime.fromtimestamp(moment, UTC) for moment in (day, day + DAY))
        results = self.results[path][begun.date().isoformat()]
        if is_openai:
            return {"object": "bucket", "start_time": day, "end_time": day + DAY, "results": results}
        form = "%Y-%m-%dT%H:%M:%SZ"
        return {"starting_at": begun.strftime(form), "ending_at": ended.strftime(form), "results": results}


class _Handler(BaseHTTPRequestHandler):
    owner: BillingServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.asked.append((parts.path, query, headers))
        if self.owner.instead:
            answer = self.owner.instead.popleft()
        elif KEY not in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer ")):
            message = f"Incorrect API key provided: {headers.get('authorization') or headers.get('x-api-key')}"
            answer = Answer(401, json.dumps({"error": {"message": message}}).encode())
        else:
            answer = Answer(200, json.dumps(self.owner.report(parts.path, query)).encode())
        if answer.status == 0:  # the connection breaks
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
