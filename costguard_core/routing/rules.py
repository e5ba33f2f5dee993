"""A scorer for the first day, before there is anything to learn from: plain, visible rules.

No untrained rule is safe everywhere. Measured over several data sets, rules like these rank between .45 and .65 APGR
(0.5 is chance), and plain length is better than most routers on one set and worse than a coin on the next. Use them to
start, collect a shadow sample, and replace them with ``learned``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from costguard_core.routing.learning.features import features
from costguard_core.routing.request import Phase, Request
from costguard_core.routing.scores import Score, strongest

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "length": 0.15,  # per e-fold of characters beyond 50, up to three
        "code": 0.5,
        "maths": 0.3,
        "reasoning": 0.4,
        "constraints": 0.2,
        "lookup": -0.4,
        "structured output": 0.2,
        "tools": 0.3,
        "images": 0.3,
        "depth": 0.2,
        "tool result": -0.5,  # digesting a tool's result is the easy step of an agent
        "tool error": 0.6,
    }
)

_NEUTRAL_LENGTH = 3.9  # log of 50 characters
_LONGEST = 3.0
_PRESENT = 0.7  # one occurrence of a counted feature: log1p(1)


@dataclass(frozen=True, slots=True)
class Rules:
    """Adds up weighted signals of the request. No signal at all is *no opinion*."""

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)

    def __call__(self, request: Request) -> Score | None:
        signals = _signals(request)
        parts = [(name, self.weights.get(name, 0.0) * value) for name, value in signals.items() if value]
        if not any(weight for _, weight in parts):
            return None
        return Score(sum(weight for _, weight in parts), strongest(parts))


def rules(**weights: float) -> Rules:
    """The rule scorer; ``weights`` replace those of the same name (``_`` for a blank), e.g. ``rules(code=1,
    length=0)``.

    Raises:
        TypeError: a weight that no rule has.
    """
    given = {name.replace("_", " "): weight for name, weight in weights.items()}
    unknown = given.keys() - WEIGHTS.keys()
    if unknown:
        raise TypeError(f"no rule is called {', '.join(sorted(unknown))}; there are {', '.join(WEIGHTS)}")
    return Rules({**WEIGHTS, **given})


def _signals(request: Request) -> dict[str, float]:
    seen = features(request)
    return {
        "length": min(_LONGEST, max(0.0, seen["length"] - _NEUTRAL_LENGTH)),
        "code": min(1.0, seen["code"] / _PRESENT),
        "maths": min(2.0, seen["maths"] / _PRESENT),
        "reasoning": min(2.0, seen["reasoning"] / _PRESENT),
        "constraints": min(2.0, seen["constraints"] / _PRESENT),
        "lookup": seen["lookup"] if seen["length"] < 5.0 else 0.0,  # a long text that opens with "what" is no lookup
        "structured output": float(request.structured),
        "tools": float(request.tools > 0),
        "images": float(bool(request.modalities)),
        "depth": min(1.0, request.turns / 5),
        "tool result": float(request.phase is Phase.TOOL),
        "tool error": float(request.phase is Phase.TOOL_ERROR),
    }
