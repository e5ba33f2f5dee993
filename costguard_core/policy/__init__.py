"""``costguard.toml``: the rules of an application in one file, which the guard, the command line and the page read."""

from __future__ import annotations

from costguard_core.policy.policy import Endpoint, Policy, PolicyError, load_policy, parse_policy
from costguard_core.policy.watch import PolicyWatch

__all__ = ["Endpoint", "Policy", "PolicyError", "PolicyWatch", "load_policy", "parse_policy"]
