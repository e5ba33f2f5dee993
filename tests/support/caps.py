"""Where each protocol takes the limit on an answer, for tests that look for it in the body of a request."""

from __future__ import annotations

from typing import Any

from costguard_core import CostGuard
from costguard_core.budgets.admission import Permit
from costguard_core.types import UsageReport

# The name of the limit, by the end of the path; a dot leads into an object.
_LIMITS = {
    "/api/chat": "options.num_predict",
    "enerateContent": "generationConfig.maxOutputTokens",
    "/responses": "max_output_tokens",
    "/converse": "inferenceConfig.maxTokens",
    "/converse-stream": "inferenceConfig.maxTokens",
}
_OPENAI = ("max_tokens", "max_completion_tokens")
_ALL = {"max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "maxOutputTokens", "maxTokens"}


def limits_in(path: str, body: dict[str, Any]) -> dict[str, int]:
    """Every limit in the body of a request, by its dotted name."""
    found = {name: body[name] for name in _ALL & body.keys()}
    for inner in ("options", "generationConfig", "inferenceConfig"):
        settings = body.get(inner) or {}
        found |= {f"{inner}.{name}": settings[name] for name in _ALL & settings.keys()}
    return {name: value for name, value in found.items() if value is not None}


def limit_sent(path: str, body: dict[str, Any]) -> int:
    """The limit of a request, which must be its only one, and where its protocol takes it."""
    found = limits_in(path, body)
    wanted = next((name for end, name in _LIMITS.items() if end in path.partition("?")[0]), None)
    assert len(found) == 1, found
    ((name, value),) = found.items()
    assert name == wanted if wanted else name in _OPENAI, found
    return value


class NotingHeld(CostGuard):
    """``held``: the output tokens that each call was reserved with, in the order in which they ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.held: list[int] = []

    def settling(self, permit: Permit, report: UsageReport) -> Any:
        self.held.append(permit.assumed_output)
        return (yield from super().settling(permit, report))
