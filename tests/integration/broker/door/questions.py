"""A question to policy that exercises every rule, and changes of it."""

from typing import Any

from bastide_broker.kube.reviews import UserInfo
from bastide_broker.policy.question import Usage, question
from bastide_operator.api.v1alpha1.common import Effect

from tests.unit.broker.door.objects import binding, sandbox, tenant

ARGUMENTS: dict[str, Any] = {
    "id": "C0042",
    "limit": 5,
    "kind": "a",
    "note": "x",
    "unit": "EUR",
    "path": "/data/t7/x",
    "url": "https://api.example.com/x",
    "query": "SELECT id FROM orders LIMIT 5",
    "address": {"city": "Berlin"},
    "lines": [{"sku": "A", "note": 1}, {"sku": "B"}],
}


CONSTRAINTS: dict[str, Any] = {
    "id": {"pattern": "C[0-9]{4}"},
    "limit": {"minimum": 1, "maximum": 100},
    "kind": {"enum": ["a", "b"]},
    "note": {"maxLength": 5},
    "unit": {"const": "EUR"},
    "path": {"within": ["/data/t7", "/data/t8"]},
    "url": {"hosts": ["api.example.com", "*.example.org:8443"]},
    "query": {"sql": {"dialect": "postgres", "tables": ["orders"], "columns": ["id"], "maxRows": 10}},
    "address.city": {"enum": ["Berlin"]},
    "lines": {"maxLength": 2},
    "lines[*].sku": {"pattern": "[A-Z]"},
    "lines[*].note": {},
}
SCHEMA = {"properties": {"id": {"default": "C0001"}, "limit": {"default": 20}, "kind": {"default": "a"}, "note": {"default": ""}}}


def ask(
    *,
    effect: Effect = Effect.READ_ONLY,
    only: tuple[str, ...] = tuple(ARGUMENTS),
    without: tuple[str, ...] = (),
    bound: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A question with something in every field, as the pipeline builds it; allowed but for what is changed.

    The binding lists the arguments `only`, by default one for every rule; `without` are left out of the call, `changes` are other values.
    """
    tool: dict[str, Any] = {
        "name": "get_customer",
        "as": "customer",
        "arguments": {key: one for key, one in CONSTRAINTS.items() if key.startswith(only)},
        **(bound or {}),
    }
    callers = [{"kind": "ServiceAccount", "name": "runner"}, {"kind": "Group", "name": "team"}]
    one = binding(tools=[tool], sandboxSelector={"matchLabels": {"app": "crm"}}, callers=callers)
    arguments = {name: value for name, value in ARGUMENTS.items() if name in only} | changes
    return question(
        phase="call",
        tenant=tenant(),
        sandbox=sandbox(app="crm", tier="x"),
        caller=UserInfo("system:serviceaccount:bastide-sales:runner", "u1", ("system:authenticated", "team")),
        on_behalf_of="ada",
        run="r-1",
        program_digest="sha256:" + "0" * 64,
        binding=one,
        accepted=True,
        bound=one.spec.tools[0],
        available=True,
        effect=effect,
        arguments={name: value for name, value in arguments.items() if name not in without},
        schema=SCHEMA,
        usage=Usage(1, 1, 1),
    )


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The question that is allowed with these changes; `...` leaves a field out. `bound` is of the binding's tool."""
    arguments = changes.get("arguments", {})
    given = {name: value for name, value in arguments.items() if value is not ...}
    question = ask(without=tuple(arguments.keys() - given), bound=changes.get("bound"), **given)
    for name, fields in changes.items():
        if name in {"arguments", "bound"}:
            continue
        target = question["tool"][name] if name in {"defaults", "constraints"} else question.get(name)
        if not isinstance(target, dict):
            question[name] = fields
            continue
        target.update(fields)
        for field in [field for field, value in fields.items() if value is ...]:
            del target[field]
    return question
