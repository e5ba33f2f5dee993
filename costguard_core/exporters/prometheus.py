"""Metrics for Prometheus (extra ``prometheus``)."""

from __future__ import annotations

import json
import logging
import os
import struct
import sys
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from costguard_core.errors import MissingExtraError
from costguard_core.types import NANOS_PER_DOLLAR, Alert, Event
from costguard_core.util.forks import renew_locks
from costguard_core.util.options import check_like, names_options
from costguard_core.util.text import printable

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram, Metric

SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which several processes add up their metrics."""

# Choices: a scrape stays at some 3 MB (measured), whatever names the application makes up.
_VALUES = 200  # of one label
_COMBINATIONS = 1_000  # of all labels
_LATENCIES = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


@names_options
class PrometheusHook:
    """Counters ``llm_calls_total``, ``llm_cost_usd_total``, ``llm_saved_usd_total``, ``llm_lost_usd_total``,
    ``llm_tokens_total``, ``llm_unpriced_calls_total`` and ``llm_budget_alerts_total``, and the histogram
    ``llm_latency_seconds``. A counter cannot fall: what was saved is ``llm_saved_usd_total - llm_lost_usd_total``.

    Labels are model, provider, endpoint and outcome. There is no user label: ten thousand users would be ten thousand
    series in every scrape (ask the ledger instead). From the 201st value of a label and the 1,001st combination of
    labels on, they say ``other``. Prometheus counts in floats, so these are for graphs and alarms; exact sums are the
    ledger's.

    Args:
        registry: where to register; ``None`` is prometheus-client's default registry. Hooks with the same one count
            together: a registry has each metric once.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            import prometheus_client as client
        except ImportError:
            raise MissingExtraError("PrometheusHook", "prometheus") from None
        registry = registry if registry is not None else client.REGISTRY
        check_like("registry", registry, ("register", "collect"), "a CollectorRegistry of prometheus-client")
        with _HOOKS_LOCK:
            first = _hooks.get(registry)
            if first is None:
                self._make_metrics(client, registry)
                _hooks[registry] = self  # with its metrics: another thread may count on it at once
            else:
                self.__dict__ = first.__dict__

    def _make_metrics(self, client: Any, registry: CollectorRegistry) -> None:
        counter = partial(client.Counter, registry=registry)
        labels = ("provider", "model", "endpoint")
        self._calls = client.Counter(
            "llm_calls", "LLM calls by how they ended", (*labels, "outcome"), registry=registry
        )
        self._cost = counter("llm_cost_usd", "Dollars spent on LLM calls", labels)
        self._saved = counter("llm_saved_usd", "Dollars not spent because of a hit", labels)
        self._lost = counter("llm_lost_usd", "Dollars that routing cost more than the model it saves", labels)
        self._unpriced = client.Counter(
            "llm_unpriced_calls", "LLM calls whose cost is unknown", labels, registry=registry
        )
        self._tokens = client.Counter(
            "llm_tokens", "Tokens of provider calls", (*labels, "direction"), registry=registry
        )
        self._latency = client.Histogram(
            "llm_latency_seconds", "Seconds to the answer", (*labels, "outcome"), buckets=_LATENCIES, registry=registry
        )
        self._alerts = counter("llm_budget_alerts", "Budget alerts", ("budget", "fraction"))
        self._known: tuple[set[str], ...] = (set(), set(), set(), set())
        self._combinations: dict[tuple[str, ...], _Series] = {}

    def __call__(self, item: Event | Alert, /) -> None:
        if isinstance(item, Alert):
            self._alerts.labels(self._bounded(3, item.budget), f"{item.fraction:g}").inc()
            return
        series = self._series(item)
        series.calls.inc()
        series.latency.observe(item.latency)
        if item.cost is None:
            series.unpriced.inc()
        elif item.cost:
            series.cost.inc(item.cost / NANOS_PER_DOLLAR)
        if item.saved:
            (series.saved if item.saved > 0 else series.lost).inc(abs(item.saved) / NANOS_PER_DOLLAR)
        if not item.outcome.is_hit:  # a hit repeats the tokens of the call that it saved
            series.input_tokens.inc(item.usage.input_tokens)
            series.output_tokens.inc(item.usage.output_tokens)

    def _series(self, event: Event) -> _Series:
        """The metrics of this combination of labels: looking one up costs four times as much as counting on it."""
        given = (event.provider or "", event.model, event.attribution.endpoint or "")
        labels = tuple(self._bounded(index, value) for index, value in enumerate(given))
        key = (*labels, event.outcome.value)
        if key not in self._combinations:
            if len(self._combinations) >= _COMBINATIONS:
                labels = ("other", "other", "other")
                key = (*labels, event.outcome.value)
            self._combinations[key] = _Series(
                self._calls.labels(*key),
                self._latency.labels(*key),
                self._cost.labels(*labels),
                self._saved.labels(*labels),
                self._lost.labels(*labels),
                self._unpriced.labels(*labels),
                self._tokens.labels(*labels, "input"),
                self._tokens.labels(*labels, "output"),
            )
        return self._combinations[key]

    def _bounded(self, label: int, value: str) -> str:
        known = self._known[label]
        if value in known or len(known) < _VALUES:
            known.add(value)
            return printable(value)  # half a character in one label would be an error in every scrape
        return "other"


_hooks: WeakKeyDictionary[CollectorRegistry, PrometheusHook] = WeakKeyDictionary()
_HOOKS_LOCK = Lock()
renew_locks(sys.modules[__name__], "_HOOKS_LOCK")


class MetricsPage:
    """Metrics of its own, apart from the default registry, as Prometheus scrapes them.

    Where ``PROMETHEUS_MULTIPROC_DIR`` was set before the process began, they are added up over all processes that
    write there: https://prometheus.github.io/client_python/multiprocess/.

    Attributes:
        hook: counts.
        content_type: of :meth:`text`.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as client
            from prometheus_client.exposition import CONTENT_TYPE_LATEST
        except ImportError:
            raise MissingExtraError("metrics", "prometheus") from None
        self._client, self._registry = client, client.CollectorRegistry()
        self.hook = PrometheusHook(self._registry)
        self.content_type = CONTENT_TYPE_LATEST

    def text(self) -> bytes:
        """The metrics now. May read files: call it in a thread."""
        registry = self._registry
        if folder := os.environ.get(SHARED_METRICS):
            registry = self._client.CollectorRegistry()
            registry.register(_SharedMetrics(folder))
        return self._client.generate_latest(registry)


class _SharedMetrics:
    """The metrics of all processes that write to a folder.

    A process that is killed while it makes its file leaves an empty one, or a part of one where the disk is full. What
    it counted is lost; what the others count is shown all the same.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def collect(self) -> list[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector

        def merge(files: list[str]) -> list[Metric]:
            return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]

        files = [str(file) for file in Path(self._folder).glob("*.db")]
        try:
            return merge(files)
        except _UNREADABLE:
            return merge([file for file in files if self._is_readable(file)])

    def _is_readable(self, file: str) -> bool:
        from prometheus_client.mmap_dict import MmapedDict

        try:
            for key, *_ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
                json.loads(key)
        except _UNREADABLE as error:
            if file not in _unreadable:
                _unreadable.add(file)
                _log.warning("costguard: metrics in %s cannot be read: %s", file, error)
            return False
        return True


_UNREADABLE = (OSError, ValueError, RuntimeError, struct.error)
_unreadable: set[str] = set()  # files of which it was said
_log = logging.getLogger("costguard")


class _Series(NamedTuple):
    """What is counted on for one combination of labels."""

    calls: Counter
    latency: Histogram
    cost: Counter
    saved: Counter
    lost: Counter
    unpriced: Counter
    input_tokens: Counter
    output_tokens: Counter
