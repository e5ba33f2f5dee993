"""What every adapter's router does with a decision: where a request starts, when it escalates, when it gives way.

It also collects the shadow sample and says how the router is doing. An adapter translates: messages into a request,
what a call returned into :class:`Brought`.
"""

from __future__ import annotations

from costguard_core.dispatch.bill import Bill, Model
from costguard_core.dispatch.brought import Brought
from costguard_core.dispatch.dispatch import Dispatch
from costguard_core.dispatch.journey import Journey, Start, atravel, travel

__all__ = ["Bill", "Brought", "Dispatch", "Journey", "Model", "Start", "atravel", "travel"]
