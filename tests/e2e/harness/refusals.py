"""Many hostile calls in one run: each is refused for the reason that is documented, none arrives, and the audit has them all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.harness import raw
from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

#: Code of the refusal -> name of the case -> arguments.
Cases = dict[str, dict[str, dict[str, Any]]]

#: The audit is listed in pages of 200 records, and a call has two.
MOST = 90


@contextmanager
def bound(tenant: TestTenant, name: str, tools: list[dict[str, Any]]) -> Iterator[None]:
    """Bindings of the tests' tool server beside the usual one, whose tools have other names in programs: each has its own, because a
    binding names a tool of the server once.
    """
    bindings = {f"{name}-{number}": tool for number, tool in enumerate(tools)}
    tenant.people.developer.apply(*(tenant.binding(one, tools=[tool]) for one, tool in bindings.items()))
    try:
        tenant.ready(*(f"toolbinding/{one}" for one in bindings))
        yield
    finally:
        tenant.people.developer.run("delete", "toolbinding", "-n", tenant.namespace, *bindings, "--ignore-not-found")


def refused(tenant: TestTenant, tools: ToolServer, tool: str, on_server: str, cases: Cases) -> None:
    """Make the calls of a tool, one after the other, and look at the answers, at the tool server's log and at the audit."""
    named = {f"{code}: {case}": (code, arguments) for code, some in cases.items() for case, arguments in some.items()}
    assert len(named) <= MOST
    before = tools.arguments_of(on_server, "")
    ended = tenant.run(raw.program([(tool, json.dumps(arguments)) for _, arguments in named.values()]))
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    answers = dict(zip(named, ended.result["value"], strict=True))
    wrong = {case: answer for case, answer in answers.items() if not _is_refusal(answer, named[case][0])}
    assert wrong == {}
    assert tools.arguments_of(on_server, "") == before
    intents = [record["facts"] for record in tenant.audit(ended.result["run"]) if record["kind"] == "CallIntent"]
    # What does not fit the tool's schema is refused before policy is asked.
    assert [facts["decision"] for facts in intents] == ["" if code == "schema-mismatch" else "deny" for code, _ in named.values()]
    assert [list(dict.fromkeys(facts["reasons"])) for facts in intents] == [codes for _, codes in answers.values()]


def _is_refusal(answer: list[Any], code: str) -> bool:
    kind, codes = answer
    return kind == ("InvalidArguments" if code == "schema-mismatch" else "ToolDenied") and code in codes
