"""Anthropic's usage and cost report, which only keys of administrators read. Both report whole UTC days.

https://docs.anthropic.com/en/api/usage-cost-api: amounts are decimal text in *cents*; the priority tier is not among
the costs; requests are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from costguard_core.errors import CostGuardError
from costguard_core.reports.reconciliation.bill import (
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    INPUT,
    OUTPUT,
    WHOLE,
    Bill,
    Subject,
    count_of,
    day_of,
    nanos_of,
)
from costguard_core.reports.reconciliation.line_items import ANTHROPIC_PARTS, tier_of, tool_of
from costguard_core.reports.reconciliation.pages import buckets, part_of
from costguard_core.util.json_client import JsonClient

BASE_URL = "https://api.anthropic.com"
KEY_NAME = "ANTHROPIC_ADMIN_KEY"
KEYS_PAGE = "https://platform.claude.com/settings/admin-keys"
_VERSION = "2023-06-01"
_COSTS, _USAGE = "/v1/organizations/cost_report", "/v1/organizations/usage_report/messages"
_MOST_DAYS = "31"
_CENTS = 100
_PREPAID = "priority"
_PREPAID_NOTE = "Anthropic's cost report leaves the priority tier out: its tokens cost nothing here."


def headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": _VERSION, "Accept": "application/json"}


def read(client: JsonClient, start: int, end: int, workspaces: Sequence[str] = ()) -> Bill:
    """The bill of the days from ``start`` up to ``end`` (unix seconds), of some workspaces or of the organisation.

    Raises:
        CostGuardError: Anthropic did not answer, or with something that is no such report.
    """
    bill = Bill("anthropic", f"{client.host}{_COSTS}", has_money=True)
    span = [("starting_at", _rfc3339(start)), ("ending_at", _rfc3339(end)), ("bucket_width", "1d")]
    span.append(("limit", _MOST_DAYS))
    groups = [("group_by[]", "description"), *([("group_by[]", "workspace_id")] if workspaces else [])]
    for day, result in _results(client, _COSTS, [*span, *groups]):
        if workspaces and result.get("workspace_id") not in workspaces:  # the costs cannot be asked for by workspace
            continue
        add_cost(bill, day, result)
    only = [("workspace_ids[]", workspace) for workspace in workspaces]
    groups = [("group_by[]", "model"), ("group_by[]", "service_tier")]
    for day, result in _results(client, _USAGE, [*span, *only, *groups]):
        add_usage(bill, day, result)
    return bill


def add_cost(bill: Bill, day: str, result: Mapping[str, object]) -> None:
    """A line of the cost report."""
    if str(result.get("currency") or "USD").upper() != "USD":
        raise CostGuardError(f"Anthropic reports costs in {str(result['currency'])[:8]!r}: only USD can be compared")
    nanos = nanos_of(result.get("amount"), per_dollar=_CENTS)
    model, kind = result.get("model"), str(result.get("cost_type") or "")
    if model and kind in ("", "tokens"):
        part = ANTHROPIC_PARTS.get(str(result.get("token_type") or ""), WHOLE)
        bill.row(Subject(day, str(model))).add_money(tier_of(result.get("service_tier")), part, nanos)
        return
    words = kind or str(result.get("description") or "other")
    bill.row(Subject(day, tool_of(words) or words, is_tool=True)).add_money(None, WHOLE, nanos)


def add_usage(bill: Bill, day: str, result: Mapping[str, object]) -> None:
    """A line of the usage report: no part holds another one."""
    written = part_of(result, "cache_creation")
    row = bill.row(Subject(day, str(result.get("model") or "(no model)")))
    tier = tier_of(result.get("speed")) or tier_of(result.get("service_tier"))
    counts = {
        INPUT: count_of(result.get("uncached_input_tokens")),
        CACHE_READ: count_of(result.get("cache_read_input_tokens")),
        CACHE_WRITE: count_of(written.get("ephemeral_5m_input_tokens")),
        CACHE_WRITE_1H: count_of(written.get("ephemeral_1h_input_tokens")),
        OUTPUT: count_of(result.get("output_tokens")),
    }
    row.add_tokens(tier, counts)
    if tier == _PREPAID and any(counts.values()):
        for part in counts:
            row.add_money(tier, part, 0)
        if _PREPAID_NOTE not in bill.notes:
            bill.notes.append(_PREPAID_NOTE)
    searches = count_of(part_of(result, "server_tool_use").get("web_search_requests"))
    if searches:
        bill.row(Subject(day, "web_search", is_tool=True)).add_requests(searches)


def _results(
    client: JsonClient, path: str, asked: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for bucket in buckets(client, path, asked, key_name=KEY_NAME, keys_page=KEYS_PAGE):
        day = day_of(str(bucket.get("starting_at"))[:10])
        for result in bucket.get("results") or ():
            yield day, result


def _rfc3339(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
