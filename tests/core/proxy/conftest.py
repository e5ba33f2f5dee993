"""A proxy in front of the simulated provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest
from asgi_server import serving

from costguard_core.guard import CostGuard
from costguard_core.proxy.app import ProxyApp
from costguard_core.proxy.keys import KeyStore
from costguard_core.proxy.settings import proxy_settings
from costguard_core.simulate import Simulator


class RunningProxy(NamedTuple):
    """``url`` is the address before ``/v1``."""

    url: str
    guard: CostGuard
    app: ProxyApp

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


StartProxy = Callable[..., RunningProxy]


@pytest.fixture
def start_proxy(openai_server: Simulator) -> Iterator[StartProxy]:
    """Starts proxies whose only upstreams are the simulated provider, priced as OpenAI and Anthropic."""
    with ExitStack() as stack:

        def start(
            *budgets: str, guard: CostGuard | None = None, keys: KeyStore | None = None, **settings: Any
        ) -> RunningProxy:
            upstreams = [
                {"url": openai_server.base_url, "provider": "openai", "key": "sk-up", "vendor": "openai"},
                {"url": openai_server.base_url, "provider": "anthropic", "key": "sk-up", "vendor": "anthropic"},
            ]
            guard = guard or CostGuard(budgets)
            if keys is not None:
                settings["keys"] = "sqlite:///opened-already.db"
            made = proxy_settings({"upstreams": upstreams, **settings}, {})
            app = ProxyApp(guard, made, keys)
            return RunningProxy(stack.enter_context(serving(app)), guard, app)

        yield start
