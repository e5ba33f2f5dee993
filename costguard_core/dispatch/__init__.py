"""What every adapter's router does with a decision: where a request starts, when it escalates, when it gives way."""

from __future__ import annotations

from costguard_core.dispatch.dispatch import Dispatch
from costguard_core.dispatch.journey import Brought, Journey, Model, atravel, travel

__all__ = ["Brought", "Dispatch", "Journey", "Model", "atravel", "travel"]
