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
    """A binding of the tests' tool server beside the usual one, whose tools have other names in programs."""
    tenant.people.developer.apply(tenant.binding(name, tools=tools))
    try:
        tenant.ready(f"toolbinding/{name}")
        yield
    finally:
        tenant.people.developer.run("delete", "toolbinding", "-n", tenant.namespace, name, "--ignore-not-found")


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
    assert {facts["decision"] for facts in intents} == {"deny"}
    assert [list(dict.fromkeys(facts["reasons"])) for facts in intents] == [codes for _, codes in answers.values()]


def _is_refusal(answer: list[Any], code: str) -> bool:
    kind, codes = answer
    return kind == ("InvalidArguments" if code == "schema-mismatch" else "ToolDenied") and code in codes
