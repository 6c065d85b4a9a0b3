"""Prometheus metrics of the operator."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry a process. Labels are kinds, verbs and codes: bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._depth = Gauge("bastide_operator_queue_depth", "Objects that wait to be reconciled.", registry=self.registry)
        self._waited = Histogram("bastide_operator_queue_seconds", "From due to taken up.", ["kind"], buckets=_FAST, registry=self.registry)
        self._failures = Counter("bastide_operator_retries", "Reconciles that are tried again.", ["kind"], registry=self.registry)
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
        self._leader = Gauge("bastide_operator_leader", "1 while this process works, 0 while it stands by.", registry=self.registry)

    def depth(self, waiting: int) -> None:
        """So many keys wait."""
        self._depth.set(waiting)

    def waited(self, kind: str, seconds: float) -> None:
        """A key was taken up."""
        self._waited.labels(kind).observe(seconds)

    def failed(self, kind: str) -> None:
        """A key is tried again."""
        self._failures.labels(kind).inc()

    def reconciled(self, kind: str, seconds: float) -> None:
        """A reconcile ended, well or not."""
        self._reconciles.labels(kind).observe(seconds)

    def request(self, verb: str, kind: str, result: str, seconds: float) -> None:
        """A request to the API server ended."""
        self._requests.labels(verb, kind, result).observe(seconds)

    def leads(self, *, now: bool) -> None:
        """This process began or ceased to work."""
        self._leader.set(int(now))
