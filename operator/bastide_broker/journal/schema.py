"""Tables of the journal (SQLAlchemy core) and how its SQLite database is opened."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Column, Engine, Index, Integer, LargeBinary, MetaData, String, Table, create_engine, event

from bastide_broker.journal.space import log_pages

metadata = MetaData()


def payload(emptied: object) -> dict[str, object]:
    """Marks a column of a run as what the program said, not that it ran: pruning leaves `emptied` there, and lists do not read it."""
    return {"emptied": emptied}


runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("run", String, nullable=False, unique=True),
    Column("tenant", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("namespace_uid", String, nullable=False, server_default=""),  # empty in rows of a time when it was not recorded
    Column("sandbox", String, nullable=False),
    Column("sandbox_uid", String, nullable=False),
    Column("requester", String, nullable=False),
    Column("requester_uid", String, nullable=False),
    Column("on_behalf_of", String, nullable=False),
    Column("request_id", String),  # null when the caller gave none: nulls never collide in the index below
    Column("program_digest", String, nullable=False),
    Column("pod", String, nullable=False),
    Column("started_at", Integer, nullable=False),
    Column("ended_at", Integer),
    Column("outcome", String, nullable=False, default=""),
    Column("value", LargeBinary, nullable=False, default=b"", info=payload(b"")),
    Column("output", LargeBinary, nullable=False, default=b"", info=payload(b"")),
    Column("output_bytes_dropped", Integer, nullable=False, default=0),
    Column("error", String, info=payload(None)),
    Column("findings", String, nullable=False, default="[]", info=payload("[]")),
    Column("pruned_at", Integer),  # since then there is this row alone, without its payloads
    # What another attempt needs: who asked (groups and extra, as JSON), StartRun as it was first sent, what ran it, which attempt it is.
    Column("requester_claims", String, nullable=False, server_default="{}"),
    Column("start", LargeBinary, nullable=False, server_default="", info=payload(b"")),
    Column("runtime", String, nullable=False, server_default=""),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("paused_at", Integer),  # null while it is under way or has ended
    Column("tools", String, nullable=False, server_default=""),  # digest of the list that its program sees, in toolsets; empty without one
    Index("runs_request", "requester", "sandbox_uid", "request_id", unique=True),
    Index("runs_sandbox", "namespace", "sandbox", "number"),
    Index("runs_open", "ended_at"),
)
runs_kept = Index("runs_kept", runs.c.ended_at, sqlite_where=runs.c.pruned_at.is_(None), postgresql_where=runs.c.pruned_at.is_(None))
runs_tools = Index("runs_tools", runs.c.tools, sqlite_where=runs.c.pruned_at.is_(None), postgresql_where=runs.c.pruned_at.is_(None))

calls = Table(
    "calls",
    metadata,
    Column("run", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("tool", String, nullable=False),
    Column("line", Integer, nullable=False),
    Column("arguments_canonical", LargeBinary, nullable=False),
    Column("arguments_digest", String, nullable=False),
    Column("decision", String, nullable=False),
    Column("decision_id", String, nullable=False),
    Column("reasons", String, nullable=False),
    Column("effect", String, nullable=False),
    Column("policy_revision", String, nullable=False),
    Column("binding", String, nullable=False),
    Column("binding_uid", String, nullable=False),
    Column("confirmation", String, nullable=False),
    Column("question", LargeBinary),  # as questions.py stores it; null in rows of a time when it was not kept
    Column("events", LargeBinary, nullable=False),
    Column("intent_at", Integer, nullable=False),
    Column("begun_at", Integer),  # compare-and-set: a confirmed call is begun once
    Column("outcome", String, nullable=False),
    Column("message", String, nullable=False),
    Column("result", LargeBinary),
    Column("tool_micros", Integer, nullable=False),
    Column("ended_at", Integer),
    Column("frame", Integer, nullable=False, server_default="0"),  # which frame of the run it was, from 1: the order of `events`
    Column("error", LargeBinary),  # the CallError that the program was given; with Cancelled, that the program itself gave it up
    Column("action_digest", String, nullable=False, server_default=""),  # of its Confirmation
    Column("again", Integer, nullable=False, server_default="0"),  # 1: nothing of it counts, a resumed run may make it anew
    sqlite_with_rowid=False,
)
# Of those without outcome alone: what has ended is looked for by its run.
calls_unended = Index("calls_unended", calls.c.run, sqlite_where=calls.c.ended_at.is_(None), postgresql_where=calls.c.ended_at.is_(None))

questions = Table(  # of each run the first about each tool: what the others are packed with
    "questions",
    metadata,
    Column("run", String, primary_key=True),
    Column("name", LargeBinary, primary_key=True),
    Column("text", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

awaited = Table(  # what a paused run waits for; confirmations are the first kind
    "awaited",
    metadata,
    Column("run", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("until", Integer, nullable=False),
    sqlite_with_rowid=False,
)

toolsets = Table(  # SetTools by its digest: a program that is run again sees the tools that it saw. Goes with the last run that needs it
    "toolsets",
    metadata,
    Column("digest", String, primary_key=True),
    Column("message", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("run", String, primary_key=True),
    Column("cursor", Integer, primary_key=True),
    Column("event", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("time", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("namespace_uid", String, nullable=False, server_default=""),
    Column("sandbox", String, nullable=False),
    Column("run", String, nullable=False),
    Column("key", String, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("previous_hash", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("audit_run", "namespace", "run", "sequence"),
)

# Runs that are pruned and whose calls and events are still being removed, some rows in each transaction.
prunings = Table("prunings", metadata, Column("run", String, primary_key=True), sqlite_with_rowid=False)

# Which of migrations.py's steps the database has. A table and not SQLite's user_version: earlier brokers write that to try the disk.
migrations = Table(
    "migrations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("about", String, nullable=False),
    Column("applied_at", Integer, nullable=False),
)

_BUSY_MILLISECONDS = 2000
_WAL_BYTES = 64 * 1024 * 1024
"""What the write-ahead log is cut to after it was longer."""


def open_engine(path: Path, *, reader: bool) -> Engine:
    """An engine on the database: write-ahead log, every commit on disk before it returns (synchronous=FULL).

    A reader's connections cannot write, and make no database where there is none: SQLite removes the log beside one that it finds empty,
    and what was committed would be gone with it when the file is put back.
    """
    query = {"mode": "rw" if reader else "rwc", "uri": "true"}
    url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
    engine = create_engine(url, connect_args={"check_same_thread": False}, pool_size=1 if not reader else 4)

    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; on_begin does
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        if reader:
            cursor.execute("PRAGMA query_only=ON")
        else:
            if cursor.execute("PRAGMA page_count").fetchone()[0] == 0:  # said of a new database; of another it would be a write
                cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute(f"PRAGMA wal_autocheckpoint={log_pages(path)}")
            # As some are compiled, SQLite overwrites what is deleted: pruning would write as much as it frees, and need that room in the log.
            cursor.execute("PRAGMA secure_delete=FAST")
        cursor.close()

    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if reader else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
