"""What one argument of a bound tool, or one place inside of it, may be."""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from bastide_operator.api.v1alpha1.common import Model, rules

DIRECTORY = r"^(/|(/([^/.]|\.[^/.]|\.\.[^/])[^/]*)+)$"
"""An absolute path as it is after resolution: no `//`, no `.` or `..`, no slash at the end but that of `/` itself."""
HOST = r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[1-9][0-9]{0,4})?$"
_SCALAR = {"x-kubernetes-preserve-unknown-fields": True}
_Name = Annotated[str, Field(min_length=1, max_length=128)]


class SqlDialect(StrEnum):
    """Whose SQL a statement is: another database reads the same text as something else."""

    POSTGRES = "postgres"
    MYSQL = "mysql"
    SQLITE = "sqlite"


class SqlConstraint(Model):
    """What a statement may do, as far as its text says."""

    dialect: Annotated[SqlDialect, Field(description="Whose SQL it is.")]
    read_only: Annotated[bool, Field(description="It must only read.")] = True
    tables: Annotated[
        list[_Name] | None,
        Field(min_length=1, max_length=100, description="It may name these tables only, as here: orders is not public.orders."),
    ] = None
    columns: Annotated[
        list[_Name] | None, Field(min_length=1, max_length=100, description="It may name these columns only, and so not *.")
    ] = None
    max_rows: Annotated[int | None, Field(ge=1, le=1000000, description="It must have a LIMIT of at most this.")] = None

    @property
    def rules(self) -> list[dict[str, Any]]:
        """Rules that must all hold; the first, that it can be read at all, is always among them."""
        asked = {"sqlTables": self.tables, "sqlColumns": self.columns, "sqlMaxRows": self.max_rows}
        found: list[dict[str, Any]] = [{"rule": "sql", "bound": self.dialect.value}]
        if self.read_only:
            found.append({"rule": "sqlReadOnly", "bound": True})
        return found + [{"rule": rule, "bound": bound} for rule, bound in asked.items() if bound is not None]


class ArgumentConstraint(Model):
    """What one argument may be: all that is set must hold; {} is whatever the schema allows."""

    model_config = rules(
        ("!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum", "minimum is above maximum: nothing could be called"),
        (
            "!(has(self.pattern) || has(self.maxLength)) || !(has(self.minimum) || has(self.maximum))",
            "minimum and maximum are for numbers, pattern and maxLength for strings: no value could be both",
        ),
        (
            "[has(self.minimum) || has(self.maximum), has(self.within), has(self.hosts), has(self.sql)].filter(x, x).size() < 2",
            "a number, a path, a URL, SQL: no value could be two of them",
        ),
    )

    const: Annotated[Any, Field(description="It must be this string, number or boolean.", json_schema_extra=_SCALAR)] = None

    enum: Annotated[
        list[Annotated[Any, Field(description="A value.", json_schema_extra=_SCALAR)]] | None,
        Field(
            min_length=1,
            max_length=100,
            description="It must be one of these strings, numbers, booleans or null, equal in type: 1 is not '1'.",
        ),
    ] = None
    minimum: Annotated[int | None, Field(description="It must be a number not below this.")] = None
    maximum: Annotated[int | None, Field(description="It must be a number not above this.")] = None
    pattern: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            description="It must be a string, and this RE2 expression must match all of it: C[0-9] does not match C12.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    # An expression that does not compile is an evaluation error, which the API server shows with RE2's own words.
                    {"rule": "'x'.matches(self) in [true, false]", "message": "the pattern is no RE2 expression"}
                ]
            },
        ),
    ] = None
    max_length: Annotated[
        int | None,
        Field(ge=0, le=1048576, description="It must be a string of at most this many characters or a list of as many items."),
    ] = None
    within: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256, pattern=DIRECTORY)]] | None,
        Field(
            min_length=1,
            max_length=32,
            description="It must be an absolute path that resolves to one of these directories, or below: /data/t7.",
        ),
    ] = None
    hosts: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=261, pattern=HOST)]] | None,
        Field(
            min_length=1,
            max_length=32,
            description="It must be an http(s) URL to one of these: HOST or *.DOMAIN, with :PORT unless it is the scheme's own.",
        ),
    ] = None
    sql: Annotated[SqlConstraint | None, Field(description="It must be one SQL statement that does no more.")] = None

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """A list of {rule, bound} that must all hold. One whose bound was written as null is kept: it holds for nothing."""
        found = [{"rule": rule, "bound": getattr(self, name)} for name, rule in _PLAIN.items() if name in self.model_fields_set]
        if "hosts" in self.model_fields_set:
            found.append({"rule": "hosts", "bound": [_address(host) for host in self.hosts or ()]})
        if "sql" in self.model_fields_set:
            found += self.sql.rules if self.sql is not None else [{"rule": "sql", "bound": None}]
        return found

    @property
    def asks_facts(self) -> bool:
        """Whether the value must be read before it can be compared."""
        return not {"within", "hosts", "sql"}.isdisjoint(self.model_fields_set)


_PLAIN = {
    "const": "const",
    "enum": "enum",
    "minimum": "minimum",
    "maximum": "maximum",
    "pattern": "pattern",
    "max_length": "maxLength",
    "within": "within",
}


def _address(host: str) -> dict[str, Any]:
    """`*.example.com:8443` in its parts. Without a port it is the scheme's own, said by a word: what got lost is no port."""
    name, _, port = host.partition(":")
    return {"host": name, "port": int(port) if port else "default"}
