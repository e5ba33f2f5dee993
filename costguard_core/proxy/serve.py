"""Running the proxy in one process or several, under uvicorn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.exporters.prometheus import SHARED_METRICS
from costguard_core.guard import CostGuard
from costguard_core.policy.policy import VARIABLE, Policy, load_policy
from costguard_core.proxy.app import ProxyApp
from costguard_core.proxy.feedback import SECRET
from costguard_core.proxy.keys import open_key_store
from costguard_core.proxy.operation import TOKEN, open_operation
from costguard_core.proxy.routers import with_shared_routers
from costguard_core.proxy.settings import ProxySettings, proxy_settings

_APP = "costguard_core.proxy.serve:make_app"
_HOST, _PORT = "COSTGUARD_PROXY_HOST", "COSTGUARD_PROXY_PORT"


def make_app() -> ProxyApp:
    """The application of one worker process, from the policy file that ``COSTGUARD_CONFIG`` names, if it does.

    It follows changes of the file (see :meth:`CostGuard.follow`).

    Raises:
        ConfigurationError: the file cannot be used.
    """
    guard = CostGuard.from_file() if os.environ.get(VARIABLE) else CostGuard()
    try:
        settings = _settings(guard.policy or Policy(None), os.environ.get(_HOST), os.environ.get(_PORT))
        operation = open_operation(settings, guard, os.environ.get(TOKEN) or None)
        keys = None if settings.keys is None else open_key_store(settings.keys)
        return ProxyApp(guard, settings, keys, operation=operation)
    except BaseException:
        guard.close()
        raise


def serve(
    path: str | None,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int = 1,
    certificate: str | None = None,
    key: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until the process is told to stop; then calls under way end, are settled, and the process exits.

    Args:
        path: the policy file; ``None``: defaults, with the vendors' own addresses and the keys of the environment.
        host, port: win over the file. Port 0 is any free one; with several workers it is not told which.
        workers: processes. With more than one, counters and ledger must be shared.
        certificate, key: PEM files for TLS.
        say: told where the proxy listens.

    Raises:
        ConfigurationError: the file or an option cannot be used.
        MissingExtraError: the extra ``proxy`` is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("costguard proxy", "proxy") from None
    policy = load_policy(path) if path or os.environ.get(VARIABLE) else Policy(None)
    settings = _settings(policy, host, None if port is None else str(port))
    _check_shared(policy, settings, workers)
    if policy.path is not None:
        os.environ[VARIABLE] = str(policy.path.absolute())
    for name, value in ((_HOST, host), (_PORT, port)):
        if value is not None:
            os.environ[name] = str(value)
    tls: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": key}
    options: dict[str, Any] = {
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "workers": workers,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": ceil(settings.drain),
        **{name: value for name, value in tls.items() if value is not None},
    }
    os.environ.setdefault(SECRET, token_hex(32))  # each worker knows the names of the others' answers
    address = f"http{'s' if certificate else ''}://{settings.host}"
    if settings.port == 0 and workers == 1:  # a free one, known when it is taken; for workers uvicorn takes it itself
        config = uvicorn.Config(_APP, **options)
        with config.bind_socket() as listening, suppress(KeyboardInterrupt):
            say(f"costguard proxy on {address}:{listening.getsockname()[1]}")
            uvicorn.Server(config).run(sockets=[listening])
        return
    say(f"costguard proxy on {address}:{settings.port}")
    with _shared_metrics(wanted=settings.metrics and workers > 1):
        uvicorn.run(_APP, **options)


@contextmanager
def _shared_metrics(*, wanted: bool) -> Iterator[None]:
    """A folder in which the workers add up their metrics, unless the environment names one."""
    if not wanted or os.environ.get(SHARED_METRICS):
        yield
        return
    with TemporaryDirectory(prefix="costguard-metrics-") as folder:
        os.environ[SHARED_METRICS] = folder
        yield


def _settings(policy: Policy, host: str | None, port: str | None) -> ProxySettings:
    return with_shared_routers(
        proxy_settings(policy.proxy, host=host, port=None if port is None else int(port)), policy.routers
    )


def _check_shared(policy: Policy, settings: ProxySettings, workers: int) -> None:
    if workers > 1 and "path" in (settings.semantic or {}):
        raise ConfigurationError(
            f"the folder of [proxy.semantic] is for one process, and there are {workers} workers: give them "
            'url = "http://127.0.0.1:8000" of a Chroma server (chroma run)'
        )
    store = str(policy.options.get("store", "memory://"))
    if workers > 1 and store.startswith("memory:"):
        raise ConfigurationError(
            f'{workers} workers would each spend the whole budget: give them one store, such as store = "redis://…" or '
            '"sqlite:///costguard.db" in the policy file'
        )
