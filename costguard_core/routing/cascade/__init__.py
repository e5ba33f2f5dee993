"""What the routers of all adapters do with a decision: ask a tier, check its answer, escalate, give way to a budget.

It also makes the tiers of a framework's models, collects the shadow sample and says how a router is doing. An adapter
translates: messages into a request, and what a tier returned into a
:class:`costguard_core.routing.tier_result.TierResult`.
"""

from __future__ import annotations

from costguard_core.routing.cascade.base_router import BaseTieredRouter
from costguard_core.routing.cascade.cascade import Cascade
from costguard_core.routing.cascade.engine import RoutingEngine
from costguard_core.routing.cascade.held_stream import AsyncHeldStream, HeldStream, aaccepted_stream, accepted_stream
from costguard_core.routing.cascade.tier_call import BaseTierCall
from costguard_core.routing.cascade.tier_factory import RouterOptions, TierFactory

__all__ = [
    "AsyncHeldStream",
    "BaseTierCall",
    "BaseTieredRouter",
    "Cascade",
    "HeldStream",
    "RouterOptions",
    "RoutingEngine",
    "TierFactory",
    "aaccepted_stream",
    "accepted_stream",
]
