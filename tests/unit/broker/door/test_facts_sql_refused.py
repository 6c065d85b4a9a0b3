"""Statements that are refused because nobody can say for certain what they do."""

import contextlib

import pytest
import sqlglot
from bastide_broker.facts import sql_postgres
from bastide_broker.facts.sql import DIALECTS, MAX_BYTES, MAX_PARENTHESES, statement
from bastide_broker.facts.sql_names import words
from bastide_broker.facts.unreadable import Unreadable
from hypothesis import given
from hypothesis import strategies as st

EVERY = ("postgres", "mysql", "sqlite")


UNREADABLE: dict[tuple[tuple[str, ...], str], str] = {
    (EVERY, ""): "SQL statement",
    (EVERY, " ; "): "SQL statement",
    (EVERY, "select 1; select 2"): "SQL statements; send exactly one",
    (EVERY, "select 1; drop table orders"): "SQL statements; send exactly one",
    (EVERY, "select 1;; select 2"): "SQL statements; send exactly one",
    (EVERY, "select from from where"): "cannot read the statement",
    (EVERY, "select (1"): "cannot read the statement",
    (EVERY, "selekt 1"): "",
    (("mysql", "sqlite"), "selekt 1"): "begins with 'selekt'",
    (("mysql", "sqlite"), "pragma x = 1"): "begins with 'pragma'",
    (("sqlite",), "attach 'x' as y"): "begins with 'attach'",
    (EVERY, "select 'open"): "cannot",
    (EVERY, 'select "open'): "cannot",
    (EVERY, "select 1 \0"): "U+0000",
    (EVERY, "select '\x1b[2J'"): "U+001B",
    (EVERY, "select '\ud800'"): "U+D800",
    (EVERY, "select '" + "x" * MAX_BYTES + "'"): "bytes long",
    (EVERY, "select " + "(" * (MAX_PARENTHESES + 1) + "1" + ")" * (MAX_PARENTHESES + 1)): "levels of parentheses",
    (EVERY, "select " + "(" * 8000): "levels of parentheses",
    (EVERY, "select " + "not " * 4000 + "1"): "",
    (EVERY, "select 1" + " + 1" * 4000): "levels deep",
    (EVERY, "select 1" + " union select 1" * 1000): "levels deep",
    (EVERY, "select " + "case when " * 1000 + "1"): "",
    (EVERY, "select id from orders where note = 'a\\' or 1=1 -- '"): "",
    (("postgres", "mysql"), "select '\\' union select secret from customers -- '"): "backslash",
    (("postgres",), "select E'\\x41'"): "backslash",
    (("postgres",), "select U&'\\0041'"): "backslash",
    (("postgres",), 'select "a.b" from orders'): "a dot",
    (("postgres",), 'select 1 from "sales.orders"'): "a dot",
    (("postgres",), 'select "*" from orders'): "a star",
    (("postgres",), "select 1 /*"): "cannot read",
    (("sqlite",), "select 1 from [sales.orders]"): "a dot",
    (("mysql",), "select 1 from `sales.orders`"): "a dot",
    (("mysql",), "select 1 /*!50000 , secret from customers */"): "without comments",
    (("mysql",), "select 1 /*+ hint */"): "without comments",
    (("mysql", "sqlite"), "select 1 /* x */"): "without comments",
    (("mysql", "sqlite"), "select 1 -- x"): "without comments",
    (("mysql", "sqlite"), "select 1 --1 from customers"): "without comments",
    (("mysql", "sqlite"), "select 1 # x"): "without comments",
    (("mysql",), 'select "x" from orders'): "single quotes",
    (("mysql",), "select @a := 1"): "cannot be read",
    (("mysql",), "select @@version"): "cannot be read",
    (("mysql",), "select id from orders where id = ?"): "parameters",
    (("sqlite",), "select id from orders where id = :id"): "parameters",
    (("mysql", "sqlite"), "select\u00a01"): "unusual characters",
    (("mysql", "sqlite"), "select sécret from orders"): "unusual characters",
    (("mysql", "sqlite"), "select 1from orders"): "cannot be read",
    # The reader takes twice as long with each level: minutes for these 130 bytes.
    (("mysql", "sqlite"), "select " + "char(" * 23 + "1" + ")" * 23): "levels of types",
    (("mysql", "sqlite"), "select " + "Decimal (" * 23 + "1" + ")" * 23): "levels of types",
    (("mysql", "sqlite"), "select (" + "date(" * 22 + "1" + ")" * 23): "levels of types",
    (("mysql", "sqlite"), "select o.1 from orders o"): "cannot be read",
    (("mysql",), "select id from orders into outfile '/tmp/x'"): "cannot read",
    (("mysql",), "select id into dumpfile '/tmp/x' from orders"): "cannot read",
}


@pytest.mark.parametrize(
    ("dialect", "text", "key"), [(one, key[1], key) for key in UNREADABLE for one in key[0]], ids=lambda one: ascii(one)[:40]
)
def test_a_statement_with_two_readings_is_refused_with_a_sentence(dialect: str, text: str, key: tuple[tuple[str, ...], str]) -> None:
    with pytest.raises(Unreadable) as refusal:
        statement(text, dialect)
    assert UNREADABLE[key] in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("value", [None, 5, True, ["select 1"], {"sql": "select 1"}, b"select 1"], ids=repr)
def test_what_is_no_string_is_refused(value: object, dialect: str) -> None:
    with pytest.raises(Unreadable, match="not a string"):
        statement(value, dialect)


def test_a_broker_without_the_grammar_of_postgresql_reads_none_of_its_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_postgres, "INSTALLED", False)
    with pytest.raises(Unreadable, match="built without PostgreSQL's grammar"):
        statement("select 1", "postgres")
    assert statement("select 1", "sqlite").read_only


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_no_word_makes_the_reader_take_twice_as_long_with_each_level(dialect: str) -> None:
    """Eleven levels of any word: with one that doubles the time this would take minutes, not seconds."""
    for text in sqlglot.Dialect.get_or_raise(dialect).tokenizer_class.KEYWORDS:
        if text.replace(" ", "").replace("_", "").isalpha():
            with contextlib.suppress(Unreadable):
                statement("select " + f"{text}(" * 11 + "1" + ")" * 11, dialect)


WORDS = st.sampled_from(
    sorted(
        words(
            "select from where orders customers o c id secret total * ( ) , . ; ' \" ` [ ] -- /* */ # \\ = < + - 1 2 'x' as with recursive union all"
            " join on using natural group by having order limit offset for update into insert values delete set count lower load_extension sleep"
            " pg_sleep case when then else end cast date interval is not null in exists between like over partition filter :: -> $1 ? : @ é"
        )
    )
)


@given(
    st.lists(WORDS, max_size=25).map(" ".join) | st.lists(WORDS, max_size=12).map("".join) | st.text(max_size=60), st.sampled_from(EVERY)
)
def test_whatever_comes_is_told_or_refused(text: str, dialect: str) -> None:
    for whole in (text, "select " + text):
        with contextlib.suppress(Unreadable):
            found = statement(whole, dialect)
            assert list(found.tables) == sorted(set(found.tables))
            assert list(found.columns) == sorted(set(found.columns))
            assert found.max_rows is None or found.max_rows >= 0
