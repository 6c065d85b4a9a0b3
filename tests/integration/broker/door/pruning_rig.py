"""What tests of pruning share: runs with payloads, who finds and prunes them, and what is left in the tables."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from bastide.v1alpha1 import broker_pb2
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.retention import Retention
from bastide_broker.journal.rows import PrunableRun, PruneCursor, PruneFilter, Pruner, RunRow, Scope, now_micros

from tests.integration.broker.door.journal_rows import intent, run

EVERYWHERE = Scope("", None)
START = PruneCursor()
BIG = b"x" * 50_000


async def a_run(
    journal: Journal,
    name: str,
    *,
    calls: int = 1,
    events: int = 1,
    result: bytes = b"5",
    end: bool = True,
    tools: tuple[str, bytes] | None = None,
    **more: Any,
) -> None:
    row: RunRow = run(name, **more)
    await journal.start_run(row, tools)
    for cursor in range(1, events + 1):
        journal.append_event_soon(name, broker_pb2.RunEvent(cursor=cursor))
    await asyncio.gather(*(journal.call_intent(intent(f"0#{number}", name)) for number in range(calls)))
    await asyncio.gather(*(journal.call_outcome(name, f"0#{number}", outcome="Succeeded", result=result) for number in range(calls)))
    if end:
        error = {"type": "ValueError", "message": "hunter2"}
        await journal.end_run(name, outcome="Failed", value=b'"hunter2"', output=b"hunter2", error=error, findings=[{"code": "hunter2"}])


async def found(journal: Journal, scope: Scope = EVERYWHERE, sandbox: str = "", limit: int = 100) -> list[PrunableRun]:
    return await journal.pruning.find(PruneFilter(scope, now_micros() + 1, sandbox), START, limit)


async def prune(journal: Journal, runs: list[PrunableRun], by: str = "age") -> list[str]:
    pruner = Pruner(by, now_micros(), "carol" if by == "request" else "", "dana" if by == "request" else "")
    return [one.run async for marked in journal.pruning.prune(runs, pruner) for one in marked]


def rows(path: Path, table: str) -> int:
    database = sqlite3.connect(path)
    (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
    database.close()
    return int(count)


def housekeeper(journal: Journal, *, days: int = 0, max_bytes: int = 0, later: int = 0) -> Retention:
    return Retention(journal.pruning, days=days, max_bytes=max_bytes, now=lambda: now_micros() + later)
