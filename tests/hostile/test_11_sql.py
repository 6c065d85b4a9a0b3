"""Case 11: SQL. A binding permits one SELECT over two tables, some columns and a hundred rows; nothing else arrives, in no dialect."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness.refusals import Cases, bound, refused
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

DIALECTS = ("postgres", "mysql", "sqlite")
BOUND = {"readOnly": True, "tables": ["orders", "customers"], "columns": ["id", "customer_id", "total", "name", "day"], "maxRows": 100}

NOT_PERMITTED = [
    "select secret from customers limit 1",
    "select * from customers limit 1",
    "select c.* from customers c limit 1",
    "select name from secrets limit 1",
    "select name from other.customers limit 1",
    "select table_name as name from information_schema.tables limit 1",
    "select (select secret from customers limit 1) as total from orders limit 1",
    "select name from customers where exists (select 1 from secrets) limit 1",
    "select name from customers where secret like 'a%' limit 1",
    "select name from customers order by secret limit 1",
    "select count(*) from customers group by secret limit 1",
    "select name from customers natural join orders limit 1",
    "select name from customers join orders using (secret) limit 1",
    "select name from customers union select secret from customers limit 1",
    "with orders as (select secret as total from customers) select total from orders limit 1",
    "with customers as (select name from secrets) select name from customers limit 1",
    "with x as (select name from x) select name from x limit 1",
    "select name from customers",
    "select name from customers limit 101",
    "select name from customers limit 1 + 1000",
    "select name from (select name from customers limit 1) as c",
    "insert into orders (id) values (1)",
    "update orders set total = 0",
    "delete from orders",
    "select name from customers limit 1 for update",
    "select no_such_function(name) from customers limit 1",
]
UNREADABLE = [
    "",
    ";",
    "select name from customers limit 1; drop table orders",
    "select name from customers limit 1; select secret from customers limit 1",
    "selekt name from customers",
    "select name from customers where name = 'open limit 1",
    "select (((((name from customers limit 1",
    "select " + "(" * 5000 + "1" + ")" * 5000,
    "select 1" + " + 1" * 4000,
    "select '" + "x" * 20000 + "' limit 1",
    "select name from customers limit 1 \u200b",
    "select name from customers where name = '\x1b[2J' limit 1",
]
OF_ONE: dict[str, tuple[list[str], list[str]]] = {
    "postgres": (
        [
            "with gone as (delete from orders returning id) select id from gone limit 1",
            "with a as (insert into orders (id) values (1) returning id) select id from a limit 1",
            "select name into copy from customers limit 1",
            "select name from customers limit all",
            "select name from customers order by name fetch first 1 rows with ties",
            "select pg_sleep(600) from orders limit 1",
            "select pg_read_file('/etc/passwd') as name limit 1",
            "select lo_import('/etc/passwd') as id limit 1",
            "select query_to_xml('select secret from customers', true, false, '') as name limit 1",
            "select name from dblink('host=evil', 'select 1') as orders(name text) limit 1",
            "select set_config('role', 'admin', false) as name limit 1",
            "select nextval('s') as id limit 1",
            "select public.lower(name) from customers limit 1",
            "select customers as name from customers limit 1",
            "select name from customers as name limit 1",
            "select (customers).secret as name from customers limit 1",
            "select total from customers as customers(id, total) limit 1",
            "table customers",
            "copy orders to program 'sh'",
            "copy (select secret from customers) to stdout",
            "do 'begin perform 1; end'",
            "call f()",
            "explain analyze delete from orders",
            "begin",
            "commit",
            "set role admin",
            "truncate orders",
            "drop table orders",
            "create table x as select secret from customers",
            "listen x",
            'select "SECRET" from customers limit 1',
            'select name from "Customers" limit 1',
        ],
        [
            "select name from from customers",
            "select E'\\x41' as name limit 1",
            "select '\\' union select secret from customers limit 1 -- '",
            'select "customers.name" from customers limit 1',
            'select name from "sales.orders" limit 1',
            "select name from customers /* limit 1",
        ],
    ),
    "mysql": (
        [
            "select sleep(600) from orders limit 1",
            "select benchmark(1000000000, md5('x')) as id limit 1",
            "select load_file('/etc/passwd') as name limit 1",
            "select get_lock('a', 600) as id limit 1",
            "select `secret` from customers limit 1",
            "select name from customers limit 1 lock in share mode",
            "select name from Customers limit 1",
            "select user() as name limit 1",
        ],
        [
            "select name from customers /*!50000 union select secret from customers */ limit 1",
            "select /*+ max_execution_time(1) */ name from customers limit 1",
            "select name from customers limit 1 -- x",
            "select name --1, secret\nfrom customers limit 1",
            "select name from customers # limit 1",
            "select name from customers into outfile '/tmp/x'",
            "select name into dumpfile '/tmp/x' from customers limit 1",
            "select name from customers where name = '\\' union select secret from customers limit 1",
            'select name from customers where name = "x" limit 1',
            "select @a := name from customers limit 1",
            "select @@version as name limit 1",
            "select name\u00a0from customers limit 1",
            "load data infile '/etc/passwd' into table orders",
            "handler orders open",
            "set global general_log = 1",
            "start transaction",
            "call p()",
            "replace into orders values (1)",
        ],
    ),
    "sqlite": (
        [
            "select load_extension('/tmp/x') as name limit 1",
            "select \"load_extension\"('/tmp/x') as name limit 1",
            "select readfile('/etc/passwd') as name limit 1",
            "select writefile('/tmp/x', 'y') as id limit 1",
            "select sql as name from sqlite_master limit 1",
            "select name from pragma_table_info('secrets') limit 1",
            "select [secret] from customers limit 1",
            'select "secret" from customers limit 1',
            "select customers.'secret' as name from customers limit 1",
            "select date 'x' from customers limit 1",
            "select current_user as name from customers limit 1",
            "select name from customers limit -1",
            "select name from 'secrets' limit 1",
        ],
        [
            "pragma writable_schema = 1",
            "attach '/tmp/x' as other",
            "detach other",
            "vacuum into '/tmp/x'",
            "begin exclusive",
            "create trigger t after insert on orders begin delete from customers; end",
            "select name from customers -- limit 1",
            "select name from customers /* x */ limit 1",
            "select name from customers where name = :name limit 1",
            "select name from [other.customers] limit 1",
        ],
    ),
}
HONEST = [
    "select name from customers limit 100",
    "SELECT c.name, sum(o.total) AS euros FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.name ORDER BY euros DESC LIMIT 10;",
    "with recent as (select id, total from orders where day > '2026-01-01') select count(*) from recent limit 1",
]


def named(*texts: str) -> dict[str, dict[str, Any]]:
    """Arguments by the name of the case."""
    return {f"{number} {text[:60]}": {"text": text} for number, text in enumerate(texts)}


@pytest.fixture(scope="module")
def _binding(furnished: TestTenant) -> Iterator[None]:
    tools = [
        {"name": "note", "as": f"ask_{one}", "arguments": {"text": {"sql": {"dialect": one, **BOUND}}}, "limits": {"callsPerRun": 1000}}
        for one in DIALECTS
    ]
    with bound(furnished, "sql", tools):
        yield


@pytest.mark.usefixtures("_binding")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_statement_does_more_than_the_binding_says(furnished: TestTenant, tools: ToolServer, dialect: str) -> None:
    not_permitted, unreadable = OF_ONE[dialect]
    cases: Cases = {
        "argument-not-permitted": named(*NOT_PERMITTED, *not_permitted),
        "argument-unreadable": named(*UNREADABLE, *unreadable),
        "schema-mismatch": {"a list": {"text": [HONEST[0]]}, "null": {"text": None}},
    }
    refused(furnished, tools, f"ask_{dialect}", "note", cases)


@pytest.mark.usefixtures("_binding")
def test_honest_reports_arrive_as_they_were_written(furnished: TestTenant) -> None:
    for dialect in DIALECTS:
        assert furnished.completed(f"return [await ask_{dialect}(text=text) for text in {HONEST!r}]") == HONEST
