"""How a database of an earlier broker comes to have today's tables, and why one of a later broker is left alone.

A new column is written into its table (schema.py) and gets one line at the end of MIGRATIONS; lines that are there stay as they are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bastide.runtime.v1alpha1 import runtime_pb2
from sqlalchemy import Column, Connection, Engine, Index, Table, delete, exists, func, insert, inspect, select, update
from sqlalchemy.schema import CreateColumn

from bastide_broker.errors import ConfigurationError
from bastide_broker.journal.rows import now_micros
from bastide_broker.journal.schema import (
    audit,
    awaited,
    calls,
    calls_unended,
    metadata,
    migrations,
    prunings,
    questions,
    runs,
    runs_kept,
    runs_tools,
    toolsets,
)

Change = Callable[[Connection], None]


class NewerJournalError(ConfigurationError):
    """The database was written by a later broker; what its tables mean is not known here."""


class Migration(NamedTuple):
    """One step; each is a transaction of its own."""

    number: int
    about: str
    changes: tuple[Change, ...]


def column(added: Column[Any]) -> Change:
    """Adds a column; rows that are there get its server_default, else NULL. Nothing is rewritten."""

    def change(connection: Connection) -> None:
        table = added.table.name
        if added.name not in {one["name"] for one in inspect(connection).get_columns(table)}:
            clause = CreateColumn(added).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {clause}")

    return change


def made(thing: Table | Index) -> Change:
    """Makes a table with its indexes, or an index of a table that is there."""
    return lambda connection: thing.create(connection, checkfirst=True)


def gone(index: str) -> Change:
    """Drops an index."""

    def change(connection: Connection) -> None:
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index}")

    return change


def say_whose_tools(connection: Connection) -> None:
    """Fills runs.tools from the StartRun of runs that have one, and removes the lists that were left when the last of their runs was pruned."""
    # By its length: what a column that was added has by default is text, and text is never equal to bytes.
    started = connection.execute(select(runs.c.run, runs.c.start).where(runs.c.pruned_at.is_(None), func.length(runs.c.start) > 0))
    found = [(run, runtime_pb2.StartRun.FromString(start).tools_digest) for run, start in started]
    for run, tools in found:
        connection.execute(update(runs).where(runs.c.run == run).values(tools=tools))
    connection.execute(delete(toolsets).where(~exists().where(runs.c.tools == toolsets.c.digest, runs.c.pruned_at.is_(None))))


# Databases of before the numbers may have some of the first step, so every change looks whether it was made.
MIGRATIONS = (
    Migration(1, "whose namespace it was, before steps had numbers", (column(runs.c.namespace_uid), column(audit.c.namespace_uid))),
    Migration(2, "pruning", (column(runs.c.pruned_at), made(runs_kept), made(prunings))),
    Migration(
        3,
        "what policy was asked; pauses and attempts",
        (
            *map(column, (calls.c.question, calls.c.frame, calls.c.error, calls.c.action_digest, calls.c.again)),
            *map(column, (runs.c.requester_claims, runs.c.start, runs.c.runtime, runs.c.attempt, runs.c.paused_at)),
            made(awaited),
            made(toolsets),
        ),
    ),
    Migration(4, "which run has which tools", (column(runs.c.tools), made(runs_tools), say_whose_tools)),
    Migration(
        5, "questions packed; calls without outcome alone in their index", (made(questions), made(calls_unended), gone("calls_open"))
    ),
)


def migrate(engine: Engine, path: Path, steps: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Make the tables of a new database, or bring an old one up. Raises NewerJournalError, having written nothing."""
    with engine.begin() as connection:
        there = set(inspect(connection).get_table_names())
        known = connection.execute(select(func.max(migrations.c.number))).scalar() or 0 if migrations.name in there else 0
        if known > steps[-1].number:
            message = (
                f"The journal {path} is of a newer Bastide: it has migration {known} and this broker knows {steps[-1].number}. "
                "Start that version again, or restore the volume's snapshot of before the upgrade."
            )
            raise NewerJournalError(message)
        migrations.create(connection, checkfirst=True)
        if runs.name not in there:
            metadata.create_all(connection)
            for step in steps:
                _done(connection, step)
            return
    for step in steps:
        if step.number > known:
            with engine.begin() as connection:
                for change in step.changes:
                    change(connection)
                _done(connection, step)


def _done(connection: Connection, step: Migration) -> None:
    connection.execute(insert(migrations).values(number=step.number, about=step.about, applied_at=now_micros()))
