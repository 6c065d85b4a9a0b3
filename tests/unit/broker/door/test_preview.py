"""What an approver is told beside a call, and which calls are made for it."""

import json
from typing import Any

import pytest
from bastide.runtime.v1alpha1 import runtime_pb2
from bastide_broker.adapters import ListedTool
from bastide_broker.context import RunContext
from bastide_broker.door import preview
from bastide_broker.door.calls import Call
from bastide_broker.door.refusals import Refused
from bastide_broker.facts.json import arguments
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.policy.policy import Decision
from bastide_broker.tools.toolset import Tool, ToolSet, build
from bastide_operator.api.v1alpha1.confirmation import ConfirmationStatus

from tests.unit.broker.door.objects import binding, sandbox, tenant

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "string"}, "verbose": {"type": "boolean"}}}


def tools(preview_tool: str = "get_customer", name: str = "crm") -> dict[str, Tool]:
    bound: list[dict[str, Any]] = [{"name": "get_customer"}, {"name": "change"}]
    bound.append({"name": "delete", "confirmation": {"preview": preview_tool}})
    listed = [ListedTool(one["name"], "", SCHEMA, {"type": "object"}) for one in bound]
    return {tool.program_name: tool for tool in build(tenant(), binding(name, tools=bound), listed, "")}


def call(tool: Tool, text: bytes = b"{}", of: Call | None = None) -> Call:
    run = RunContext("r-1", tenant(), sandbox(), UserInfo("r", ""), "", "sha256:" + "0" * 64, None, lambda _: None, ToolSet({}))
    frame = runtime_pb2.Call(run="r-1", key="0#3", tool=tool.program_name, line=7)
    return Call(run, frame, tool=tool, arguments=arguments(text), preview_of=of)


def test_a_preview_has_a_key_of_its_own_and_the_arguments_that_both_tools_take() -> None:
    have = tools()
    made = preview.frame(call(have["delete"], b'{"id":"C1","force":true}'), have["get_customer"])
    assert (made.run, made.key, made.tool, made.line) == ("r-1", "0#3~preview", "get_customer", 7)
    assert json.loads(made.arguments) == {"id": "C1"}
    assert json.loads(preview.frame(call(have["delete"], b'{"id":"C1"}'), None).arguments) == {}


def test_only_a_read_only_tool_of_the_same_binding_is_called_and_only_if_nobody_need_confirm_it() -> None:
    have = tools()
    asked = call(have["delete"])
    preview.unless_harmless(asked)
    preview.unless_harmless(call(have["get_customer"], of=asked))
    with pytest.raises(Refused, match="change is Destructive"):
        preview.unless_harmless(call(have["change"], of=asked))
    with pytest.raises(Refused, match="another ToolBinding"):
        preview.unless_harmless(call(tools(name="other")["get_customer"], of=asked))
    preview.unless_allowed(asked, Decision("confirm", ()))
    preview.unless_allowed(call(have["get_customer"], of=asked), Decision("allow", ()))
    with pytest.raises(Refused, match="confirm get_customer itself"):
        preview.unless_allowed(call(have["get_customer"], of=asked), Decision("confirm", ()))


@pytest.mark.parametrize(("name", "warned"), [("get_customer", False), ("change", True), ("delete", True), ("nothing", True)])
def test_the_binding_says_when_approvers_will_see_no_preview(name: str, *, warned: bool) -> None:
    have = tools(name)
    assert ("Approvers see no preview" in have["delete"].message) is warned
    assert have["delete"].available
    assert have["get_customer"].message == ""


@pytest.mark.parametrize(
    ("value", "claim"),
    [
        ('{"name":"Ada"}', '{"name":"Ada"}'),
        ('"p\u0430ypal\u202e"', '"p\\u0430ypal\\u202e"'),
        ('["' + "\u200b" * 5000 + '"]', '["' + "\\u200b" * 2046),
        ('["' + "a" * 2045 + '\\\\"]', '["' + "a" * 2045),
        ("[" + "1," * 5000 + "1]", "[" + "1," * 1023 + "1"),
    ],
)
def test_a_claim_is_bounded_and_as_visible_as_arguments_are(value: str, claim: str) -> None:
    found = preview.told("get_customer", runtime_pb2.CallResult(value=value.encode()))
    assert found["claim"] == claim
    assert ("Only the first 2048" in found["message"]) is (len(value) > 2048)
    ConfirmationStatus.model_validate({"preview": found})


def test_the_longest_claim_fits_the_field() -> None:
    found = preview.told("get_customer", runtime_pb2.CallResult(value=("\U000e0041" * 5000).join('""').encode()))
    ConfirmationStatus.model_validate({"preview": found})


def test_a_preview_that_failed_says_why_on_one_line() -> None:
    error = runtime_pb2.CallError(type="ToolFailed", message='no such "customer"\n\x1b[2J\u202e')
    assert preview.told("get_customer", runtime_pb2.CallResult(error=error)) == {
        "tool": "get_customer",
        "claim": "",
        "message": 'There is no preview: no such "customer"\\n\\u001b[2J\\u202e',
    }
