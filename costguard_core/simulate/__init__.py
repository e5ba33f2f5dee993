"""An OpenAI-compatible server on this machine: no key, no network, no bill. For demos, load tests and users' own tests.

    with Simulator(latency=0.05) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="simulated", model="gpt-4o-mini")
        model.invoke("Hello")
        assert server.count == 1

Needs the extra ``demo`` (starlette and uvicorn) when it starts, nothing when it is imported.
"""

from __future__ import annotations

from costguard_core.simulate.faults import Fault
from costguard_core.simulate.latency import Latency
from costguard_core.simulate.replies import ScriptedReply
from costguard_core.simulate.server import Simulator
from costguard_core.simulate.service import RecordedRequest

__all__ = ["Fault", "Latency", "RecordedRequest", "ScriptedReply", "Simulator"]
