"""A scorer for the time before there is anything to learn from: a weighted sum of visible signals.

No untrained rule is safe everywhere. Measured over several data sets, rules like these reach .45 to .65 APGR (.5 is
chance), and plain length .43 to .60. Use them to start, collect a shadow sample, and replace them with ``learned``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from costguard_core.routing.learning.features import features
from costguard_core.routing.request import Phase, Request
from costguard_core.routing.scores import Score, strongest

# A choice by hand; `benchmarks/routing.py --score rules` measures them.
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

_NEUTRAL_LENGTH = 3.9  # log of 50 characters, below which length says nothing
_LONGEST = 3.0  # e-folds: from 1,000 characters on, more says no more
_PRESENT = 0.7  # log1p(1): one occurrence of a counted feature


@dataclass(frozen=True, slots=True)
class Rules:
    """Adds up weighted signals of a request. Without any signal it has no opinion.

    Attributes:
        weights: by the name of the signal.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)

    def __call__(self, request: Request) -> Score | None:
        signals = _signals(request)
        parts = [(name, self.weights.get(name, 0.0) * value) for name, value in signals.items() if value]
        if not any(weight for _, weight in parts):
            return None
        return Score(sum(weight for _, weight in parts), strongest(parts))


def rules(**weights: float) -> Rules:
    """The scorer of rules; ``weights`` replace those of the same name (``_`` for a blank), e.g. ``rules(code=1)``.

    Raises:
        TypeError: a weight that no rule has.
    """
    changed = {name.replace("_", " "): weight for name, weight in weights.items()}
    unknown = changed.keys() - WEIGHTS.keys()
    if unknown:
        raise TypeError(f"no rule is called {', '.join(sorted(unknown))}; there are {', '.join(WEIGHTS)}")
    return Rules({**WEIGHTS, **changed})


def _signals(request: Request) -> dict[str, float]:
    named = features(request)
    return {
        "length": min(_LONGEST, max(0.0, named["length"] - _NEUTRAL_LENGTH)),
        "code": min(1.0, named["code"] / _PRESENT),
        "maths": min(2.0, named["maths"] / _PRESENT),
        "reasoning": min(2.0, named["reasoning"] / _PRESENT),
        "constraints": min(2.0, named["constraints"] / _PRESENT),
        "lookup": named["lookup"] if named["length"] < 5.0 else 0.0,  # a long text that opens with "what" is no lookup
        "structured output": float(request.structured),
        "tools": float(request.tools > 0),
        "images": float(bool(request.modalities)),
        "depth": min(1.0, request.turns / 5),
        "tool result": float(request.phase is Phase.TOOL),
        "tool error": float(request.phase is Phase.TOOL_ERROR),
    }
