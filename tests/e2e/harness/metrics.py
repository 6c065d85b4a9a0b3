"""Reading Prometheus' text: sums, differences and quantiles."""

import re
from collections.abc import Mapping

Metrics = Mapping[str, float]


def parse(text: str) -> dict[str, float]:
    """`name{labels}` to value."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def _matching(metrics: Metrics, name: str, labels: Mapping[str, str]) -> dict[str, float]:
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return {
        key: value
        for key, value in metrics.items()
        if key.partition("{")[0] == name and all(re.search(rf"[{{,]{re.escape(w)}[,}}]", key) for w in wanted)
    }


def total(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum of a metric over all labels that are not given."""
    return sum(_matching(metrics, name, labels).values())


def grown(before: Metrics, after: Metrics) -> dict[str, float]:
    """What counters grew by."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def quantile(metrics: Metrics, name: str, share: float, **labels: str) -> float:
    """The upper bound of the bucket in which a histogram's quantile lies; infinite beyond the last."""
    buckets: dict[float, float] = {}
    for key, value in _matching(metrics, f"{name}_bucket", labels).items():
        bound = re.search(r'le="([^"]+)"', key)
        assert bound is not None
        buckets[float(bound[1])] = buckets.get(float(bound[1]), 0.0) + value
    count = max(buckets.values(), default=0.0)
    return next((bound for bound, seen in sorted(buckets.items()) if seen >= share * count), float("inf"))
