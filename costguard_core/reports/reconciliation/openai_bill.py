"""OpenAI's costs and usage APIs. Both report whole UTC days.

https://platform.openai.com/docs/api-reference/usage: amounts are dollars, ``input_tokens`` holds the cached and written
tokens, and only the costs agree with the invoice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from costguard_core.errors import CostGuardError
from costguard_core.reports.reconciliation.bill import (
    AUDIO_CACHE_READ,
    AUDIO_INPUT,
    AUDIO_OUTPUT,
    CACHE_READ,
    CACHE_WRITE,
    IMAGE_INPUT,
    IMAGE_OUTPUT,
    INPUT,
    OUTPUT,
    Bill,
    Subject,
    count_of,
    day_of,
    nanos_of,
    uses_of,
)
from costguard_core.reports.reconciliation.line_items import openai_line, tier_of
from costguard_core.reports.reconciliation.pages import buckets
from costguard_core.util.json_client import JsonClient

BASE_URL = "https://api.openai.com"
KEY_NAME = "OPENAI_ADMIN_KEY"
KEYS_PAGE = "https://platform.openai.com/settings/organization/admin-keys"
_COSTS = "/v1/organization/costs"
_USAGE = ("/v1/organization/usage/completions", "/v1/organization/usage/embeddings")
_MOST_COST_DAYS, _MOST_USAGE_DAYS = "180", "31"


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


def read(client: JsonClient, start: int, end: int, projects: Sequence[str] = ()) -> Bill:
    """The bill of the days from ``start`` up to ``end`` (unix seconds), of some projects or of the organisation.

    Raises:
        CostGuardError: OpenAI did not answer, or with something that is no such report.
    """
    bill = Bill("openai", f"{client.host}{_COSTS}", has_money=True)
    span = [("start_time", str(start)), ("end_time", str(end)), ("bucket_width", "1d")]
    only = [("project_ids[]", project) for project in projects]
    asked = [*span, *only, ("group_by[]", "line_item"), ("limit", _MOST_COST_DAYS)]
    for day, result in _results(client, _COSTS, asked):
        add_cost(bill, day, str(result.get("line_item") or ""), result.get("amount"), result.get("quantity"))
    for path in _USAGE:
        groups = [("group_by[]", "model")]
        if path.endswith("completions"):
            groups += [("group_by[]", "batch"), ("group_by[]", "service_tier")]
        for day, result in _results(client, path, [*span, *only, *groups, ("limit", _MOST_USAGE_DAYS)]):
            add_usage(bill, day, result)
    return bill


def add_cost(bill: Bill, day: str, line_item: str, amount: object, quantity: object) -> None:
    """A line of costs; ``quantity`` is the number of uses where the line is for a tool."""
    if not isinstance(amount, Mapping) or amount.get("value") is None:
        return
    if str(amount.get("currency") or "usd").lower() != "usd":
        raise CostGuardError(f"OpenAI reports costs in {str(amount['currency'])[:8]!r}: only usd can be compared")
    line = openai_line(line_item)
    subject = Subject(day, line.model or line.tool or "other", line.model is None)
    row = bill.row(subject)
    row.add_money(line.tier, line.part, nanos_of(amount["value"]))
    if subject.is_tool:
        row.add_requests(uses_of(quantity))


def add_usage(bill: Bill, day: str, result: Mapping[str, object]) -> None:
    """A line of usage: the parts are taken out of ``input_tokens`` and ``output_tokens``, which hold them.

    The counts of fresh sound and pictures are without the cached ones, which the count of cached tokens holds.
    """
    tier = tier_of(result.get("service_tier"))
    if result.get("batch") in (True, "true", "True", "TRUE", "1"):
        tier = "batch"
    read_, written = count_of(result.get("input_cached_tokens")), count_of(result.get("input_cache_write_tokens"))
    sound, pictures = count_of(result.get("input_audio_tokens")), count_of(result.get("input_image_tokens"))
    cached_sound = count_of(result.get("input_cached_audio_tokens"))
    spoken, drawn = count_of(result.get("output_audio_tokens")), count_of(result.get("output_image_tokens"))
    row = bill.row(Subject(day, str(result.get("model") or "(no model)")))
    row.add_requests(count_of(result.get("num_model_requests")))
    row.add_tokens(
        tier,
        {
            INPUT: max(0, count_of(result.get("input_tokens")) - read_ - written - sound - pictures),
            CACHE_READ: max(0, read_ - cached_sound),
            CACHE_WRITE: written,
            AUDIO_INPUT: sound,
            AUDIO_CACHE_READ: cached_sound,
            IMAGE_INPUT: pictures,
            OUTPUT: max(0, count_of(result.get("output_tokens")) - spoken - drawn),
            AUDIO_OUTPUT: spoken,
            IMAGE_OUTPUT: drawn,
        },
    )


def _results(
    client: JsonClient, path: str, asked: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for bucket in buckets(client, path, asked, key_name=KEY_NAME, keys_page=KEYS_PAGE):
        day = day_of(count_of(bucket.get("start_time")))
        for result in bucket.get("results") or bucket.get("result") or ():
            yield day, result
