"""The simulated provider as a server in a background thread."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from costguard_core.errors import ConfigurationError, CostGuardError, MissingExtraError
from costguard_core.simulate.faults import Fault, FaultPlan
from costguard_core.simulate.latency import Latency, as_latency
from costguard_core.simulate.service import RecordedRequest, Reply, Service

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 4096
# Providers keep idle connections for minutes; with seconds, a slow client loses the race against the closing one.
_KEEP_ALIVE = 120
_START_SECONDS = 30.0


class Simulator:
    """An OpenAI-compatible server on a free port of this machine, for as long as the ``with`` block lasts.

    Args:
        latency: seconds per answer, or a :class:`Latency`.
        faults: what the next requests get, in order; ``None`` spares one.
        fault_rate: share of all other requests that fail with 429, 500 or 503 (seeded by ``seed``).
        reply: scripts the answers; also settable later as ``server.reply``.
        prompt_cache: report cached tokens for repeated prefixes, as OpenAI does from 1,024 tokens on.
        host, port: where to listen; port 0 is any free one.

    Raises:
        MissingExtraError: at start, when starlette and uvicorn (extra ``demo``) are not installed.
    """

    def __init__(
        self,
        *,
        latency: float | Latency = 0.0,
        faults: Iterable[Fault | None] = (),
        fault_rate: float = 0.0,
        seed: int = 0,
        reply: Reply | None = None,
        prompt_cache: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        plan = FaultPlan(faults, rate=fault_rate, seed=seed)
        self._at_first = (as_latency(latency), reply)
        self.service = Service(latency=as_latency(latency), faults=plan, reply=reply, prompt_cache=prompt_cache)
        self.host, self.port = host, port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def base_url(self) -> str:
        """What to give to a client, e.g. ``http://127.0.0.1:49152/v1``."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def count(self) -> int:
        """Requests that reached the server since the last :meth:`reset`, failed ones included."""
        return self.service.count

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests themselves, oldest first (at most the last 20,000)."""
        return list(self.service.requests)

    @property
    def faults(self) -> deque[Fault | None]:
        """The faults of the next requests; append to it at any time."""
        return self.service.faults.queue

    @property
    def reply(self) -> Reply | None:
        """Scripts the answers: gets a request body; returns text, a dict, a :class:`Fault` or ``None`` (default)."""
        return self.service.reply

    @reply.setter
    def reply(self, reply: Reply | None) -> None:
        self.service.reply = reply

    @property
    def latency(self) -> Latency:
        return self.service.latency

    @latency.setter
    def latency(self, latency: float | Latency) -> None:
        self.service.latency = as_latency(latency)

    def reset(self) -> None:
        """Forget requests, scripted faults and the prompt cache; latency and script become what they were at first."""
        self.service.reset()
        self.service.latency, self.service.reply = self._at_first

    def hold(self) -> AbstractContextManager[None]:
        """A ``with`` block in which requests are received and counted, but not answered before it ends.

        Callers that are waiting for an answer are then known to overlap, however busy the machine is.
        """
        return self.service.hold()

    def wait_for_requests(self, count: int, *, timeout: float = 60.0) -> None:
        """Return when ``count`` requests have arrived since the last :meth:`reset`, answered or not.

        Raises:
            TimeoutError: fewer arrived within ``timeout`` seconds.
        """
        self.service.wait_for_requests(count, timeout=timeout)

    def start(self) -> Self:
        """Listen; returns when requests are answered."""
        self._server, self._socket = self._prepare()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="costguard-simulator", daemon=True
        )
        self._thread.start()
        self._wait_until_started(self._server, self._thread)
        return self

    def serve(self, *, on_listening: Callable[[str], None] = lambda _: None) -> None:
        """Listen in this thread until interrupted; ``on_listening`` is told the base URL first."""
        self._server, self._socket = self._prepare()
        on_listening(self.base_url)
        with suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Close the port. Requests in flight are broken off."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout=1.0)
        self._server.force_exit = True
        self._thread.join(timeout=5.0)
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> tuple[uvicorn.Server, socket.socket]:
        try:
            import uvicorn

            from costguard_core.simulate.app import create_app
        except ImportError as error:
            raise MissingExtraError("the simulated provider", "demo") from error
        self.service.warm_up()
        listening = self._listen()
        options: dict[str, Any] = {"log_level": "critical", "access_log": False, "lifespan": "off", "ws": "none"}
        options |= {"backlog": _BACKLOG, "timeout_keep_alive": _KEEP_ALIVE, "timeout_graceful_shutdown": 1}
        config = uvicorn.Config(create_app(self.service), **options)
        return uvicorn.Server(config), listening

    def _listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
            listening.listen(_BACKLOG)  # now: whoever is told the address may connect at once
        except OSError as error:
            listening.close()
            raise ConfigurationError(f"cannot listen on {self.host}:{self.port}: {error.strerror}") from error
        self.port = listening.getsockname()[1]
        return listening

    @staticmethod
    def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
        waited = threading.Event()
        for _ in range(int(_START_SECONDS / 0.01)):
            if server.started:
                return
            if not thread.is_alive():
                break
            waited.wait(0.01)
        raise CostGuardError("the simulated provider did not start")
