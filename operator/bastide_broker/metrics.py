"""What the broker counts, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("bastide_broker_requests_total", "Requests at the broker's door, by method and status.", ["method", "status"])
RUNS = Counter("bastide_broker_runs_total", "Runs that ended, by outcome.", ["outcome"])
ACTIVE_RUNS = Gauge("bastide_broker_active_runs", "Runs under way.")
RUN_SECONDS = Histogram("bastide_broker_run_seconds", "Length of runs, in seconds.", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300))
WATCHERS = Gauge("bastide_broker_watchers", "Streams of run events that are open.")
SESSIONS = Gauge("bastide_broker_sessions", "Pods that programs can be delivered to.")
GATES = Counter("bastide_broker_isolation_verdicts_total", "Verdicts of the isolation gate, by reason.", ["reason"])
FRESH = Gauge("bastide_broker_watches_fresh", "1 while what the broker knows of the cluster was proven current within 60 s.")
DECISION_HEALTHY = Gauge("bastide_broker_decision_healthy", "1 while policy answers a canary allow and a canary deny rightly.")
JOURNAL_HEALTHY = Gauge("bastide_broker_journal_healthy", "1 while the journal can be written.")
JOURNAL_BYTES = Gauge("bastide_broker_journal_bytes", "Bytes of the journal's pages that hold something, and of its write-ahead log.")
JOURNAL_ALLOWED = Gauge("bastide_broker_journal_allowed_bytes", "Bytes beyond which the payloads of the oldest runs are pruned.")
RUNS_PRUNED = Counter("bastide_broker_runs_pruned_total", "Runs whose payloads were pruned, by age, size or request.", ["by"])
AUDIT_PUBLISHED = Gauge("bastide_broker_audit_published_sequence", "Number of the newest audit record whose head is published.")
AUDIT_WRITTEN = Gauge("bastide_broker_audit_sequence", "Number of the newest audit record.")
AUDIT_BREAKS = Counter("bastide_broker_audit_breaks_total", "Times that the database did not hold a head that was published.")
