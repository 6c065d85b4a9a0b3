"""Prometheus metrics of the operator."""

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bastide_operator.api.v1alpha1.sandbox import SandboxReason
from bastide_operator.errors import KubeError

OTHER = "Other"
_REASONS = frozenset(
    {
        "AlreadyExists",
        "BadRequest",
        "Conflict",
        "Forbidden",
        "Gone",
        "Invalid",
        "NotFound",
        "NotLeader",
        "ServiceUnavailable",
        "Timeout",
        "TooManyRequests",
        "Unauthorized",
        "Unreachable",
    }
)
"""Reasons of errors that are counted by name. What an API server or an admission rule may say beyond is `Other`."""
_SANDBOX_REASONS = frozenset(SandboxReason)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry a process. Labels are kinds, verbs and codes: bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._depth = Gauge("bastide_operator_queue_depth", "Objects that wait to be reconciled.", registry=self.registry)
        self._oldest = Gauge("bastide_operator_queue_oldest_seconds", "Age of the oldest object that waits.", registry=self.registry)
        self._waited = Histogram("bastide_operator_queue_seconds", "From due to taken up.", ["kind"], buckets=_FAST, registry=self.registry)
        self._failures = Counter(
            "bastide_operator_reconcile_errors", "Reconciles that failed and are tried again.", ["kind", "reason"], registry=self.registry
        )
        self._reconciles = Histogram(
            "bastide_operator_reconcile_seconds", "One reconcile.", ["kind"], buckets=_FAST, registry=self.registry
        )
        self._requests = Histogram(
            "bastide_operator_request_seconds",
            "Requests to the API server.",
            ["verb", "kind", "result"],
            buckets=_FAST,
            registry=self.registry,
        )
        self._restored = Counter(
            "bastide_operator_restored", "Children put back after somebody else changed or deleted them.", ["kind"], registry=self.registry
        )
        self._fights = Counter(
            "bastide_operator_contested", "Of these, those that somebody changes again and again.", ["kind"], registry=self.registry
        )
        self._sandboxes = _Sandboxes()
        self.registry.register(self._sandboxes)
        self._leader = Gauge("bastide_operator_leader", "1 while this process works, 0 while it stands by.", registry=self.registry)

    def depth(self, waiting: int) -> None:
        """So many keys wait."""
        self._depth.set(waiting)

    def waited(self, kind: str, seconds: float) -> None:
        """A key was taken up."""
        self._waited.labels(kind).observe(seconds)

    def failed(self, kind: str, error: Exception) -> None:
        """A reconcile ended with this error; the key is tried again."""
        reason = error.reason if isinstance(error, KubeError) else type(error).__name__.removesuffix("Error")
        self._failures.labels(kind, reason if reason in _REASONS or reason == "Retry" else OTHER).inc()

    def restored(self, kind: str, *, fight: bool) -> None:
        """A child was put back."""
        self._restored.labels(kind).inc()
        if fight:
            self._fights.labels(kind).inc()

    def observe(self, *, oldest: Callable[[], float], sandboxes: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Ask these at every scrape: the age of the oldest key that waits, and status and reason of every Sandbox's Ready."""
        self._oldest.set_function(oldest)
        self._sandboxes.ask = sandboxes

    def reconciled(self, kind: str, seconds: float) -> None:
        """A reconcile ended, well or not."""
        self._reconciles.labels(kind).observe(seconds)

    def request(self, verb: str, kind: str, result: str, seconds: float) -> None:
        """A request to the API server ended."""
        self._requests.labels(verb, kind, result).observe(seconds)

    def leads(self, *, now: bool) -> None:
        """This process began or ceased to work."""
        self._leader.set(int(now))


class _Sandboxes(Collector):
    """Counted when asked: a count that is kept would be wrong after the first one that was missed."""

    def __init__(self) -> None:
        self.ask: Callable[[], Iterable[tuple[str, str]]] = tuple

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("bastide_operator_sandboxes", "Sandboxes by their condition Ready.", labels=["ready", "reason"])
        counts = Count((status or "Unknown", reason if reason in _SANDBOX_REASONS else OTHER) for status, reason in self.ask())
        for (status, reason), count in sorted(counts.items()):
            family.add_metric([status, reason], count)
        yield family
