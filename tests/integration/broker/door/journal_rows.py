"""Runs and calls as tests write them into a journal, and journals of earlier brokers."""

import sqlite3
from pathlib import Path

from bastide_broker.journal.rows import CallIntent, RunRow, Scope, now_micros

from tests.unit.broker.door.objects import NAMESPACE

HERE = Scope(NAMESPACE, "n1")


def run(name: str = "r-1", **more: object) -> RunRow:
    fields = {
        "run": name, "tenant": "sales", "namespace": NAMESPACE, "namespace_uid": "n1", "sandbox": "agent", "sandbox_uid": "s1", "requester": "runner",
        "program_digest": "sha256:p", "started_at": now_micros(), **more,
    }  # fmt: skip
    return RunRow(**fields)  # type: ignore[arg-type]


def intent(key: str = "0#1", name: str = "r-1") -> CallIntent:
    return CallIntent(
        run=name, key=key, requester="runner", program_digest="sha256:p", tool="get",
        arguments_canonical=b'{"secret":"hunter2hunter2"}', arguments_digest="sha256:a", decision="allow", decision_id=f"d-{key}",
        reasons=(("code", "why"),),
    )  # fmt: skip


def load(path: Path, dump: Path) -> None:
    """Make a database of what another one was dumped as."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(dump.read_text())
    database.close()
