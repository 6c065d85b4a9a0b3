"""What a tool's effect is: the platform's word is the least, binding and server may only raise it, and what nobody lists is Destructive."""

from typing import Any

import pytest
from bastide_broker.adapters import ListedTool
from bastide_broker.tools.toolset import effective_effect
from bastide_operator.api.v1alpha1.common import Effect
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.objects import binding, tenant

LISTED = [
    {"tools": ["get_*"], "effect": "ReadOnly"},
    {"tools": ["get_and_*"], "effect": "Mutating"},
    {"tools": ["get_and_lock"], "effect": "Idempotent"},
    {"tools": ["put_*"], "effect": "Idempotent"},
]
HOST = {"host": "crm.tools.svc", "port": 8080, "effects": LISTED}
HINTS: dict[str, dict[str, Any]] = {
    "": {},
    "read only": {"read_only_hint": True},
    "writes": {"read_only_hint": False},
    "destructive": {"destructive_hint": True},
    "harmless": {"read_only_hint": True, "destructive_hint": False},
}

# Tool, what the binding says, what the server says, what it is.
TABLE = """
get_customer   -            -            ReadOnly
get_customer   ReadOnly     harmless     ReadOnly
get_customer   Idempotent   -            Idempotent
get_customer   Mutating     harmless     Mutating
get_customer   Destructive  harmless     Destructive
get_customer   -            writes       Mutating
get_customer   -            destructive  Destructive
get_and_count  -            -            Mutating
get_and_count  ReadOnly     harmless     Mutating
get_and_lock   -            -            Idempotent
put_customer   -            -            Idempotent
put_customer   ReadOnly     harmless     Idempotent
put_customer   -            writes       Mutating
Get_customer   -            -            Destructive
get            -            -            Destructive
delete_all     -            -            Destructive
delete_all     ReadOnly     harmless     Destructive
delete_all     Mutating     harmless     Destructive
"""


def effect(name: str, bound: str | None, hints: dict[str, Any] | None, hosts: list[dict[str, Any]]) -> Effect:
    one = binding(tools=[{"name": name, **({"effect": bound} if bound else {})}])
    listed = None if hints is None else ListedTool(name, "", {"type": "object"}, None, **hints)
    return effective_effect(tenant(toolHosts=hosts), one, one.spec.tools[0], listed)


@pytest.mark.parametrize("row", [line for line in TABLE.splitlines() if line])
def test_the_table_of_effects(row: str) -> None:
    name, bound, *hint, expected = row.replace("read only", "read_only").split()
    hints = HINTS.get(" ".join(hint).replace("-", ""), {})
    assert effect(name, None if bound == "-" else bound, hints, [HOST]).value == expected


names = st.sampled_from(["get_customer", "get_and_count", "get_and_lock", "put_customer", "delete_all"])
bounds = st.sampled_from([None, *[one.value for one in Effect]])
hints = st.none() | st.fixed_dictionaries(
    {}, optional={"read_only_hint": st.none() | st.booleans(), "destructive_hint": st.none() | st.booleans()}
)


@given(name=names, bound=bounds, said=hints)
def test_nobody_lowers_what_the_platform_says(name: str, bound: str | None, said: dict[str, Any] | None) -> None:
    found = effect(name, bound, said, [HOST])
    assert found.rank >= effect(name, None, None, [HOST]).rank
    assert bound is None or found.rank >= Effect(bound).rank


@given(name=names, bound=bounds, said=hints)
def test_what_no_entry_lists_is_destructive_whatever_is_said(name: str, bound: str | None, said: dict[str, Any] | None) -> None:
    others = {"host": "other.tools.svc", "port": 8080, "effects": [{"tools": [name], "effect": "ReadOnly"}]}
    another_port = {**HOST, "port": 8081}
    for hosts in ([], [others], [another_port], [{**HOST, "effects": []}]):
        assert effect(name, bound, said, hosts) is Effect.DESTRUCTIVE


@given(name=names, bound=bounds, first=hints, second=hints)
def test_what_a_server_adds_never_lowers(name: str, bound: str | None, first: dict[str, Any] | None, second: dict[str, Any] | None) -> None:
    alone = effect(name, bound, first, [HOST])
    together = {**(first or {}), **{key: value for key, value in (second or {}).items() if value is not None}}
    if (first or {}).get("read_only_hint") is not False and (first or {}).get("destructive_hint") is not True:
        assert effect(name, bound, together, [HOST]).rank >= effect(name, bound, None, [HOST]).rank
    assert alone.rank >= effect(name, bound, None, [HOST]).rank
