"""The pages of a report by days, which OpenAI and Anthropic send in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.util.json_client import JsonClient, Refused

_MOST_PAGES = 10_000  # a server that says "more" for ever is left


def buckets(
    client: JsonClient, path: str, asked: Sequence[tuple[str, str]], *, key_name: str, keys_page: str
) -> Iterator[dict[str, Any]]:
    """Every bucket of a report, page after page.

    Raises:
        ConfigurationError: the key is not accepted; the text names the variable that it is from.
        CostGuardError: no answer, or one that is no such report.
    """
    page: str | None = None
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        parameters = [*asked, ("page", page)] if page else list(asked)
        found = _get(client, path, parameters, key_name, keys_page)
        data = found.get("data")
        if not isinstance(data, list) or not all(isinstance(bucket, dict) for bucket in data):
            raise CostGuardError(f"{client.host}{path}: the answer is no report: it has no list of days in data")
        yield from map(partial(_checked, client, path), data)
        page = found.get("next_page")
        if not found.get("has_more") or not page:
            if found.get("has_more"):
                raise CostGuardError(f"{client.host}{path}: there are more pages, but the answer does not say which")
            return
        if page in seen:
            raise CostGuardError(f"{client.host}{path}: the same page comes again and again")
        seen.add(page)
    raise CostGuardError(f"{client.host}{path}: more than {_MOST_PAGES:,} pages")


def part_of(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    """The object in ``holder``; one that is missing or ``null`` is empty.

    Raises:
        CostGuardError: it is something else.
    """
    found = holder.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CostGuardError(f"the answer is no report: {name} is no object")
    return found


def _checked(client: JsonClient, path: str, bucket: dict[str, Any]) -> dict[str, Any]:
    for name in ("results", "result"):  # OpenAI's documentation has shown both
        found = bucket.get(name) or []
        if not isinstance(found, list) or not all(isinstance(result, dict) for result in found):
            raise CostGuardError(f"{client.host}{path}: the answer is no report: {name} is no list of objects")
    return bucket


def _get(
    client: JsonClient, path: str, parameters: Sequence[tuple[str, str]], key_name: str, keys_page: str
) -> dict[str, Any]:
    try:
        return client.get(path, parameters)
    except Refused as error:
        if error.status not in (401, 403):
            raise
        what = "is not accepted" if error.status == 401 else "may not read this report"
        raise ConfigurationError(
            f"{client.host}{path}: the key in {key_name} {what} (HTTP {error.status}). It must be a key of an "
            f"administrator, which is not the one that calls models: make one at {keys_page}"
        ) from None
