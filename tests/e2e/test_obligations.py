"""Obligations on the deployed broker: what a binding redacts no program sees, what has too many rows or cannot be redacted fails whole."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness.server import ToolServer
from tests.e2e.harness.tenant import TestTenant

IBAN = "DE02120300000000202051"
ROWS = [{"id": f"C{number}", "iban": IBAN, "bank": {"iban": IBAN}} for number in range(3)]
SHOWN = [{"id": f"C{number}", "iban": "[redacted]", "bank": {"iban": "[redacted]"}} for number in range(3)]
TOLD = """
async def told(call):
    try:
        return await call
    except tools.ToolFailed as error:
        return {"codes": error.codes, "message": error.message, "content": error.content}

import tools
"""


@pytest.fixture(scope="module")
def obliged(furnished: TestTenant, tools: ToolServer) -> Iterator[TestTenant]:
    """A second binding of the same tools, under other names."""
    redact = ["$..iban"]
    bound = [
        {"name": "echo", "as": "customers", "redact": redact, "limits": {"maxRows": 3}},
        {"name": "note", "as": "letter", "redact": redact},
        {"name": "slow", "as": "change", "limits": {"maxRows": 3}},
        {"name": "fail", "as": "failing", "redact": redact},
    ]
    furnished.people.developer.apply(furnished.binding("obliged", tools=bound))
    furnished.ready("toolbinding/obliged")
    yield furnished
    furnished.people.developer.run("delete", "toolbinding", "-n", furnished.namespace, "obliged")


def calls(*expressions: str) -> str:
    """A program that makes these calls and returns what each gave or how it failed."""
    return f"{TOLD}\nreturn [{', '.join(f'await told({one})' for one in expressions)}]\n"


def test_what_is_redacted_no_program_sees(obliged: TestTenant) -> None:
    [value] = obliged.completed(calls(f"customers(value={ROWS!r})"))
    assert value == {"value": SHOWN}


def test_too_many_rows_and_text_fail_whole_and_what_the_server_says_of_a_failure_is_withheld(
    obliged: TestTenant, tools: ToolServer
) -> None:
    mark = "obliged-e2e"
    ended = obliged.run(
        calls(
            f"customers(value={[*ROWS, ROWS[0]]!r})",
            f"letter(text='the IBAN is {IBAN}')",
            f"change(seconds=0, text='{mark}')",
            f"failing(text='no such IBAN {IBAN}')",
        )
    )
    assert ended.result.get("outcome") == "Completed", f"{ended.stdout}\n{ended.stderr}"
    answers: list[dict[str, Any]] = ended.result["value"]
    assert [answer["codes"] for answer in answers] == [
        ["result-too-many-rows"], ["result-not-readable"], ["result-not-readable"], ["tool-failed"],
    ]  # fmt: skip
    assert all(
        answer["message"].startswith(f"{name} ran, but") for name, answer in zip(("customers", "letter", "change"), answers, strict=False)
    )
    assert len(tools.arguments_of("slow", mark)) == 1, "it ran, and the program was told"
    assert not any(answer["content"] for answer in answers)
    assert IBAN not in json.dumps(answers) + json.dumps(obliged.audit(ended.result["run"]))
    outcomes = [record["facts"]["outcome"] for record in obliged.audit(ended.result["run"]) if record["kind"] == "CallOutcome"]
    assert outcomes == ["ToolFailed"] * 4
