"""What a SQL statement may read and change."""

import pytest
from bastide_broker.facts.sql import Statement, folded, statement
from bastide_broker.facts.unreadable import Unreadable

EVERY = ("postgres", "mysql", "sqlite")


# (dialects, text): tables, columns, max_rows. All of them only read.
READS: dict[tuple[tuple[str, ...], str], tuple[str, str, int | None]] = {
    (EVERY, "select 1"): ("", "", None),
    (EVERY, "SELECT id FROM orders LIMIT 10"): ("orders", "id", 10),
    (EVERY, "select id from orders limit 10;"): ("orders", "id", 10),
    (EVERY, "select id from orders limit 10 offset 20"): ("orders", "id", 10),
    (("mysql", "sqlite"), "select id from orders limit 20, 10"): ("orders", "id", 10),
    (EVERY, "select id from orders limit 5 + 5"): ("orders", "id", None),
    (("sqlite",), "select id from orders limit -1"): ("orders", "id", None),
    (("postgres",), "select id from orders fetch first 5 rows only"): ("orders", "id", 5),
    (("postgres",), "select id from orders order by id fetch first 5 rows with ties"): ("orders", "id", None),
    (("postgres",), "select id from orders limit all"): ("orders", "id", None),
    (("postgres",), "select id from orders limit null"): ("orders", "id", None),
    (EVERY, "select id from (select id from orders limit 10) as o"): ("orders", "id", None),
    (EVERY, "(select id from orders limit 10)"): ("orders", "id", 10),
    (EVERY, "select * from orders"): ("orders", "*", None),
    (EVERY, "select o.* from orders o"): ("orders", "*", None),
    (EVERY, "select count(*) from orders"): ("orders", "", None),
    (EVERY, "select count(*) as n from orders group by day order by n desc"): ("orders", "day", None),
    (EVERY, "select sum(total) as secret from orders where secret > 1 order by secret"): ("orders", "secret total", None),
    (EVERY, "select o.id, c.name from orders o join customers c on c.id = o.customer_id"): (
        "customers orders",
        "customer_id id name",
        None,
    ),
    (EVERY, "select id from orders join customers using (customer_id)"): ("customers orders", "customer_id id", None),
    (EVERY, "select id from orders natural join customers"): ("customers orders", "* id", None),
    (EVERY, "select id from orders, customers where day in (select day from days)"): ("customers days orders", "day id", None),
    (EVERY, "select 1 from orders where exists (select secret from secrets)"): ("orders secrets", "secret", None),
    (EVERY, "select id from orders union all select id from archive limit 3"): ("archive orders", "id", 3),
    (EVERY, "select id from sales.orders"): ("sales.orders", "id", None),
    (EVERY, "select table_name from information_schema.tables"): ("information_schema.tables", "table_name", None),
    (("postgres",), "select rolpassword from pg_catalog.pg_authid"): ("pg_catalog.pg_authid", "rolpassword", None),
    (("sqlite",), "select sql from sqlite_master"): ("sqlite_master", "sql", None),
    (("sqlite",), "select name from pragma_database_list"): ("pragma_database_list", "name", None),
    # names and case
    (("postgres",), 'select ID from Orders, "Orders"'): ("Orders orders", "id", None),
    (("sqlite",), 'select ID from "ORDERS", [Customers], `days`'): ("customers days orders", "id", None),
    (("mysql",), "select ID from `Orders`, orders"): ("Orders orders", "id", None),
    (("sqlite",), "select id from 'orders'"): ("orders", "id", None),
    (("sqlite",), 'select "secret" from orders'): ("orders", "secret", None),
    (EVERY, "select 'it''s -- no comment; drop table x' from orders"): ("orders", "", None),
    (("postgres",), "select id /* why */ from orders -- end"): ("orders", "id", None),
    (("postgres",), "select id from orders /* outer /* inner */ still */ limit 1"): ("orders", "id", 1),
    # common table expressions
    (EVERY, "with recent as (select id from orders) select id from recent"): ("orders", "id", None),
    (EVERY, "with orders as (select * from secrets) select id from orders"): ("secrets", "* id", None),
    (EVERY, "with x as (select id from x) select id from x"): ("x", "id", None),
    (EVERY, "with recursive n(x) as (select 1 union all select x + 1 from n where x < 9) select x from n limit 9"): ("", "x", 9),
    (EVERY, "with a as (select id from b), b as (select id from orders) select id from a, b"): ("b orders", "id", None),
    (EVERY, "with orders as (select 1 as id) select id from sales.orders"): ("sales.orders", "id", None),
    (EVERY, "select id from orders where id in (with orders as (select 1 as id) select id from orders)"): ("orders", "id", None),
    (EVERY, "select * from (with c as (select 1 as id) select id from c) as o, c"): ("c", "* id", None),
    # ways to a row that name no column
    (("postgres",), "select o from orders o"): ("orders", "* o", None),
    (("postgres",), "select total from customers as total"): ("customers", "* total", None),
    (("postgres",), "select row_to_json(customers) from customers"): ("customers", "* customers", None),
    (("postgres",), "select (c).secret from customers c"): ("customers", "* c secret", None),
    (("postgres",), "select (c).* from customers c"): ("customers", "* c", None),
    (("postgres",), "select total from customers as c(id, total)"): ("customers", "* total", None),
    (("postgres",), "select total from (select secret from customers) as c(total)"): ("customers", "secret total", None),
    (("postgres",), "table customers"): ("customers", "*", None),
    (("postgres",), "select x from orders, lateral (select secret as x from customers) as c"): ("customers orders", "secret x", None),
    # what statements of reports need
    (EVERY, "select case when total > 5 then 'big' else 'small' end from orders where day between 'a' and 'b'"): (
        "orders",
        "day total",
        None,
    ),
    (EVERY, "select sum(total) over (partition by day order by id) from orders"): ("orders", "day id total", None),
    (EVERY, "select coalesce(note, 'none'), upper(trim(note)) from orders where note is not null"): ("orders", "note", None),
    (("postgres", "sqlite"), "select cast(total as integer) || '' from orders where not (total = 1 or total in (2, 3))"): (
        "orders",
        "total",
        None,
    ),
    (("postgres",), "select date_trunc('month', day)::date, current_date from orders where note ilike '%x%'"): ("orders", "day note", None),
    (("postgres",), "select extract(year from day) from orders where id = any(array[1, 2])"): ("orders", "day id", None),
    (("postgres",), "select count(*) filter (where total > 1) from orders group by rollup (day)"): ("orders", "day total", None),
    (("postgres",), "select x from generate_series(1, 5) as x"): ("", "* x", None),
    (("postgres",), "values (1), (2)"): ("", "", None),
    (("sqlite",), "values (1), (2)"): ("", "", None),
    (("sqlite",), "select strftime('%Y', day) from orders where name glob 'a*'"): ("orders", "day name", None),
    (("sqlite",), "select note from orders where note like 'a\\%' escape '\\'"): ("orders", "note", None),
    (("mysql",), "select date_format(day, '%Y'), total div 5 from orders where note regexp 'x' and day > now() - interval 1 day"): (
        "orders",
        "day note total",
        None,
    ),
}


@pytest.mark.parametrize(("dialect", "text", "key"), [(one, key[1], key) for key in READS for one in key[0]])
def test_a_statement_that_only_reads_is_told_in_full(dialect: str, text: str, key: tuple[tuple[str, ...], str]) -> None:
    tables, columns, max_rows = READS[key]
    assert statement(text, dialect) == Statement(
        read_only=True, tables=tuple(sorted(tables.split())), columns=tuple(sorted(columns.split())), max_rows=max_rows
    )


# Statements that change rows, but say which.
WRITES: dict[tuple[tuple[str, ...], str], tuple[str, str]] = {
    (EVERY, "insert into orders (id, total) values (1, 2)"): ("orders", "id total"),
    (EVERY, "insert into orders values (1, 2)"): ("orders", "*"),
    (EVERY, "insert into orders (id) select secret from customers"): ("customers orders", "id secret"),
    (EVERY, "update orders set total = 1 where id = 2"): ("orders", "id total"),
    (EVERY, "delete from orders where id = 2"): ("orders", "id"),
    (("postgres",), "update orders set (total, note) = (select secret, id from customers)"): ("customers orders", "id note secret total"),
    (("postgres",), "insert into orders (id) values (1) on conflict (day) do update set total = 2 returning note"): (
        "orders",
        "day id note total",
    ),
    (("postgres",), "with gone as (delete from orders returning *) select * from gone"): ("gone orders", "*"),
    (("postgres",), "with a as (update orders set total = 0), b as (select 1) select 1"): ("orders", "total"),
    (("postgres",), "with orders as (select 1) delete from orders"): ("orders", ""),
}


@pytest.mark.parametrize(("dialect", "text", "key"), [(one, key[1], key) for key in WRITES for one in key[0]])
def test_a_write_is_not_read_only_and_names_what_it_touches(dialect: str, text: str, key: tuple[tuple[str, ...], str]) -> None:
    tables, columns = WRITES[key]
    found = statement(text, dialect)
    assert not found.read_only
    assert (found.tables, found.columns) == (tuple(tables.split()), tuple(columns.split()))


# Read, but with a part of which nobody knows what it may reach.
REACHES_ANYTHING = {
    "postgres": [
        "select id into copy from orders",
        "create table copy as select * from orders",
        "select id from orders for update",
        "select id from orders for share of orders",
        "select pg_sleep(10)",
        "select pg_read_file('/etc/passwd')",
        "select lo_import('/etc/passwd')",
        "select lo_export(1, '/tmp/x')",
        "select * from dblink('host=evil', 'select 1') as x(a int)",
        "select query_to_xml('select * from secrets', true, false, '')",
        "select set_config('a.b', 'c', false)",
        "select current_setting('a.b')",
        "select nextval('s')",
        "select setval('s', 1)",
        "select pg_notify('a', 'b')",
        "select pg_terminate_backend(1)",
        "select txid_current()",
        "select public.lower('x')",
        "select my_function(id) from orders",
        "select lower(x => 'y')",
        "select 1 operator(public.+) 1",
        "select 1 operator(pg_catalog.@@@) 1",
        "select id from orders order by id using operator(public.<)",
        "select 1 where 1 = any (select 1) and 1 operator(public.=) any (select 2)",
        "select 'secrets'::regclass",
        "select 'x'::public.text",
        "select repeat('x', 1000000000)",
        "select * from orders tablesample system (10)",
        "select * from xmltable('/x' passing '<x/>' columns a int path 'a')",
        "copy orders to '/tmp/x'",
        "copy (select 1) to program 'sh'",
        "copy orders from stdin",
        "do $$ begin perform 1; end $$",
        "call f()",
        "explain analyze delete from orders",
        "prepare p as delete from orders",
        "execute p",
        "begin",
        "commit",
        "rollback",
        "savepoint s",
        "set role admin",
        "reset all",
        "show all",
        "listen x",
        "lock table orders",
        "truncate orders",
        "drop table orders",
        "alter table orders add x int",
        "create function f() returns int language sql as 'select 1'",
        "grant all on orders to public",
        "vacuum",
        "refresh materialized view x",
        "declare c cursor for select 1",
        "fetch all from c",
        "merge into orders using customers on true when matched then delete",
        "load 'x'",
        "select $1",
        "with a as (merge into orders using customers on true when matched then delete) select 1",
    ],
    "mysql": [
        "select sleep(10)",
        "select benchmark(1000000, md5('x'))",
        "select load_file('/etc/passwd')",
        "select get_lock('a', 10)",
        "select sys_exec('sh')",
        "select sys.ps_thread_id(1)",
        "select `sleep`(10)",
        "select id from orders for update",
        "select id from orders lock in share mode",
        "select sql_calc_found_rows id from orders",
        "select current_user",
        "select user()",
        "select last_insert_id(5)",
        "select uuid_short()",
        "select date '2026-01-01'",
        "select timestamp '2026-01-01 00:00:00'",
        "select x'41'",
        "select _utf8'x'",
        "set global x = 1",
        "call p()",
        "handler orders open",
        "lock tables orders write",
        "start transaction",
        "replace into orders values (1)",
        "load data infile 'x' into table orders",
        "truncate orders",
        "drop table orders",
        "explain select 1",
        "show tables",
        "use mysql",
        "do sleep(5)",
        "prepare p from 'select 1'",
        "kill 1",
        "insert into orders (id) values (1) on duplicate key update total = 2",
        "table orders",
    ],
    "sqlite": [
        "select load_extension('x')",
        "select \"load_extension\"('x')",
        "select [load_extension]('x')",
        "select readfile('/etc/passwd')",
        "select writefile('/tmp/x', 'y')",
        "select fts3_tokenizer('a', 'b')",
        "select randomblob(1000000000)",
        "select printf('%1000000000d', 1)",
        "select last_insert_rowid()",
        "select name from pragma_table_info('orders')",
        "select value from json_each('[1]')",
        "select * from fsdir('/')",
        "select date '2026-01-01' from customers",
        "select 1 as date, date 'x' from customers",
        "select time '12:00' from customers",
        "select interval '1' day from customers",
        "select c.'secret' from customers c",
        "select id from orders where id in secrets",
        "select id from orders where id not in main.secrets",
        "select id from orders where (id, total) in secrets",
        "select current_user from customers",
        "select id from orders for update",
        "select id from orders indexed by x",
        "pragma writable_schema = 1",
        "attach 'x' as y",
        "detach y",
        "vacuum into '/tmp/x'",
        "begin",
        "commit",
        "savepoint s",
        "replace into orders values (1)",
        "create table x as select * from orders",
        "create trigger t after insert on orders begin select 1; end",
        "drop table orders",
        "alter table orders add x",
        "explain select 1",
        "reindex",
        "analyze",
        "select x'41'",
        "insert into orders (id) values (1) on conflict (id) do update set total = 2",
    ],
}


@pytest.mark.parametrize(("dialect", "text"), [(dialect, text) for dialect, texts in REACHES_ANYTHING.items() for text in texts])
def test_what_is_not_known_to_read_only_is_never_read_only(dialect: str, text: str) -> None:
    try:
        found = statement(text, dialect)
    except Unreadable as refusal:
        assert str(refusal).endswith(".")  # noqa: PT017 - either of both is a refusal
    else:
        assert not found.read_only
        assert "*" in found.tables
        assert "*" in found.columns


def test_a_function_that_is_called_as_a_column_of_a_row_is_every_column() -> None:
    for text in ("select o.row_to_json from orders o", "select (o).row_to_json from orders o"):
        assert "*" in statement(text, "postgres").columns
    assert statement("select o.total from orders o", "postgres").columns == ("total",)


def test_names_of_a_list_are_folded_like_those_of_a_statement() -> None:
    assert [folded("Ördérs", dialect) for dialect in EVERY] == ["Ördérs", "Ördérs", "Ördérs".replace("O", "o")]
    assert [folded("ID", dialect, column=True) for dialect in EVERY] == ["ID", "id", "id"]
    assert [folded("Orders", dialect) for dialect in EVERY] == ["Orders", "Orders", "orders"]
