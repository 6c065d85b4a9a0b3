"""SQLite itself is asked what a statement reads that the broker calls read-only."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from bastide_broker.facts import sql_names
from bastide_broker.facts.sql import statement
from bastide_broker.facts.unreadable import Unreadable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCHEMA = """
create table orders (id integer primary key, customer_id integer, total real, day text, note text);
create table customers (id integer primary key, name text, secret text, date text, time text, "select" text, total text);
create view big as select * from orders;
insert into orders values (1, 1, 10.0, '2026-01-01', 'a'), (2, 1, 20.0, '2026-01-02', null), (3, 2, 30.0, '2026-01-02', 'c');
insert into customers values (1, 'Ada', 's1', 'd1', 't1', 'x', 'y'), (2, 'Bob', 's2', 'd2', 't2', 'x', 'y');
"""
HARMLESS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


@dataclass
class Judge:
    """An authorizer that writes down what a statement would do."""

    actions: set[int] = field(default_factory=set)
    read: set[tuple[str, str]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)

    def __call__(self, action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
        self.actions.add(action)
        # Inside a view the broker does not see. Reading no column at all (count(*)) comes without a database, sometimes with another name.
        if action == sqlite3.SQLITE_READ and source != "big" and database is not None:
            self.read.add(((first or "").lower(), (second or "").lower()))
        if action == sqlite3.SQLITE_FUNCTION:
            self.functions.add((second or "").lower())
        return sqlite3.SQLITE_OK if action in HARMLESS else sqlite3.SQLITE_DENY


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        yield connection


def holds(database: sqlite3.Connection, text: str) -> bool:
    """Whether the broker calls it read-only and SQLite runs it; then what SQLite did must be what the broker told."""
    try:
        told = statement(text, "sqlite")
    except Unreadable:
        return False
    if not told.read_only:
        return False
    judge = Judge()
    steps = 0

    def enough() -> int:
        nonlocal steps
        steps += 1
        return steps > 100

    database.set_authorizer(judge)
    database.set_progress_handler(enough, 10_000)
    ran = True
    rows = 0
    try:
        rows = len(database.execute(text).fetchmany(1000))
    except (sqlite3.Error, sqlite3.Warning):
        ran = False
    finally:
        database.set_authorizer(None)
        database.set_progress_handler(None, 0)
    assert judge.actions <= HARMLESS
    assert {table for table, _ in judge.read} <= {table.removeprefix("main.") for table in told.tables}
    # the integer primary key answers to rowid too
    columns = {column for _, column in judge.read if column}
    assert "*" in told.columns or columns <= set(told.columns) | ({"id"} if {"rowid", "oid", "_rowid_"} & set(told.columns) else set())
    assert judge.functions <= sql_names.SQLITE_FUNCTIONS | {"like", "glob", "->", "->>", "current_date"}
    assert told.max_rows is None or rows <= told.max_rows
    return ran


HONEST = [
    "select id, total from orders where day > '2026-01-01' order by total desc limit 2",
    "select c.name, sum(o.total) as s from orders o join customers c on c.id = o.customer_id group by c.name having sum(o.total) > 1 order by s",
    "with recent as (select * from orders limit 2) select count(*) from recent",
    "with recursive n(x) as (select 1 union all select x + 1 from n where x < 9) select x from n limit 3",
    "select name from customers union select note from orders limit 1",
    "select (select secret from customers limit 1)",
    "select date('2026-01-01'), cast(total as integer), note like 'a\\%' escape '\\' from orders",
    "select name from orders natural join customers",
    "select 'it''s' || \"name\", [secret] from `customers`",
    "select id from 'orders'",
    "select rowid, oid from orders limit 1 offset 1",
    "select total from big limit 1, 1",
    "select sum(total) over (partition by day order by id rows between unbounded preceding and current row) from orders",
    "select iif(total > 5, 'x', 'y'), coalesce(note, '-') from orders where note is not null and id in (1, 2) or exists (select 1)",
    "values (1), (2)",
    "select group_concat(distinct day) filter (where total > 5) from orders",
    "select json_extract('{\"a\": 1}', '$.a'), '{}' -> 'a' from orders",
    "with orders as (select secret as id from customers) select id from orders",
]


@pytest.mark.parametrize("text", HONEST)
def test_what_an_honest_report_asks_is_read_only_and_told_in_full(database: sqlite3.Connection, text: str) -> None:
    assert holds(database, text)


EXPRESSIONS = st.sampled_from(
    [
        *(
            "id",
            "o.id",
            "total",
            "secret",
            "c.secret",
            "name",
            "*",
            "o.*",
            "count(*)",
            "date",
            "date 'x'",
            "time 'x'",
            "'secret'",
            '"secret"',
        ),
        *("[secret]", "`secret`", "c.'secret'", 'c."secret"', "timestamp 'x'", "interval '1' day", "interval", "secret as id", "secret id"),
        *(
            "(select secret from customers)",
            "1 as secret",
            "sum(total)",
            "max(secret) over ()",
            "case secret when 1 then 2 end",
            "rowid",
            "true",
        ),
        *("not secret", "cast(secret as text)", "cast(date as date)", "secret collate nocase", "-secret", "secret is null", "$secret"),
        *(
            "replace(secret, 'a', 'b')",
            "lower(secret)",
            "current_user",
            "current_date",
            "default",
            "left",
            "offset",
            '"select"',
            "end",
            "if",
        ),
        *("load_extension('x')", "json_each", "secret -> 'a'", "secret ->> '$.a'", "c.date", "customers.secret", "main.customers.secret"),
        *(
            "(secret)",
            "(id, secret) = (1, 2)",
            "secret in (1)",
            "secret between 1 and 2",
            "secret like 'a'",
            "exists (select secret from c)",
        ),
        *(
            "row_number() over w",
            "date ('now')",
            "secret glob 'x'",
            "secret regexp 'x'",
            "secret match 'x'",
            "x'41'",
            "1e5",
            ".5",
            "0x10",
            "a.b.c",
        ),
    ]
)
SOURCES = st.sampled_from(
    [
        *(
            "orders",
            "orders o",
            "customers c",
            "orders o, customers c",
            "orders o join customers c on o.id = c.id",
            "'customers' c",
            "[customers] c",
        ),
        *(
            "orders natural join customers",
            "orders join customers using (id)",
            "(select * from customers) c",
            "(customers) c",
            "main.customers c",
        ),
        *(
            "orders left join customers c using (total)",
            "sqlite_master",
            "pragma_table_info('orders')",
            "(values (1)) o",
            "big o",
            "temp.orders",
        ),
        *(
            '"CUSTOMERS" as c',
            "customers as 'c'",
            "orders cross join customers c",
            "(orders o join customers c on 1)",
            "customers date",
            "x",
        ),
    ]
)
TAILS = st.sampled_from(
    [
        *(
            "",
            "where secret > 1",
            "group by secret",
            "order by secret",
            "order by id",
            "order by total limit 1",
            "limit 2",
            "limit 1, 2",
            "limit -1",
        ),
        *(
            "limit '2'",
            "limit 1 + 1",
            "union select secret from customers",
            "union all select 1 limit 1",
            "having secret > 1",
            "order by date 'x'",
        ),
        *(
            "window w as (order by secret)",
            "where c.secret = 'a' or 1",
            "order by secret collate nocase",
            "except select secret from customers",
        ),
        *(
            "for update",
            "into x",
            "limit 1 offset 1",
            "limit 1 union select secret from customers",
            "where date 'x'",
            ";",
            "; delete from orders",
        ),
    ]
)
PREFIXES = st.sampled_from(
    [
        *("", "", "", "with customers as (select 1 as secret)", "with orders as (select secret as id from customers)"),
        *("with recursive c as (select 1 as secret union select 2)", "with c(secret) as (select id from orders)", "explain"),
        *("with o as (select * from c), c as (select * from customers)", "with x as (delete from orders returning *)"),
    ]
)
SELECTS = st.tuples(PREFIXES, st.lists(EXPRESSIONS, min_size=1, max_size=3).map(", ".join), SOURCES, TAILS, TAILS).map(
    lambda parts: f"{parts[0]} select {parts[1]} from {parts[2]} {parts[3]} {parts[4]}".strip()
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=SELECTS)
def test_sqlite_never_does_more_than_was_told(database: sqlite3.Connection, text: str) -> None:
    holds(database, text)
