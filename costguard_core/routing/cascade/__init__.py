"""What every adapter's router does with a decision: where a request starts, when it escalates, when it gives way.

It also collects the shadow sample and says how the router is doing. An adapter translates: messages into a request,
what a call returned into :class:`Brought`.
"""

from __future__ import annotations

from costguard_core.routing.cascade.cascade import Journey, Start, atravel, travel
from costguard_core.routing.cascade.start import Dispatch
from costguard_core.routing.cascade.tier_prices import Bill, Model
from costguard_core.routing.cascade.tier_result import Brought

__all__ = ["Bill", "Brought", "Dispatch", "Journey", "Model", "Start", "atravel", "travel"]
