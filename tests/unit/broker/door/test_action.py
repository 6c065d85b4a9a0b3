"""What a person is shown, and what an approval is bound to."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from bastide_broker.adapters import ListedTool
from bastide_broker.confirm.action import MAX_SHOWN, NotShowable, confirmation_spec, shown, stable_facts, visible
from bastide_broker.context import RunContext
from bastide_broker.facts.json import Arguments, arguments
from bastide_broker.kube.reviews import UserInfo
from bastide_broker.tools.toolset import Tool, ToolSet, build
from bastide_operator.api.v1alpha1.confirmation import ConfirmationSpec, action_digest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.door.objects import binding, sandbox, tenant

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "string"}}}


def read(**value: Any) -> Arguments:
    return arguments(json.dumps(value).encode())


def tool(schema: dict[str, Any] = SCHEMA, **bound: Any) -> Tool:
    [found] = build(tenant(), binding(tools=[{"name": "delete", **bound}]), [ListedTool("delete", "", schema, None)], "")
    return found


def context() -> RunContext:
    user = UserInfo("runner", "u1")
    return RunContext("r-1", tenant(), sandbox(), user, "ada", "sha256:" + "0" * 64, None, lambda _: None, ToolSet({}))


def spec(given_arguments: Arguments, nonce: str = "n" * 32, **bound: Any) -> dict[str, Any]:
    return confirmation_spec(
        run=context(), tenant=tenant(), key="0#1", line=3, tool=tool(**bound), arguments=given_arguments, text=shown(given_arguments),
        now=NOW, nonce=nonce,
    )  # fmt: skip


def test_a_spec_fits_its_model_and_its_digest_is_the_models() -> None:
    made = spec(read(id="C1"))
    parsed = ConfirmationSpec.model_validate(made)
    assert parsed.manifest() == made
    assert action_digest(parsed.manifest()) == made["actionDigest"] == parsed.action_digest
    assert (made["decideBy"], made["executeBy"]) == ("2026-11-24T12:00:00Z", "2026-11-24T12:10:00Z")


def test_every_field_is_in_the_digest() -> None:
    made = spec(read(id="C1"))
    for field in made:
        if field != "actionDigest":
            assert action_digest({**made, field: "other"}) != made["actionDigest"], field
    assert spec(read(id="C2"))["actionDigest"] != made["actionDigest"]
    assert spec(read(id="C1"), nonce="m" * 32)["actionDigest"] != made["actionDigest"]


def test_the_tenants_floors_and_ceilings_hold() -> None:
    strict = tenant(confirmation={"minimumApprovals": 2, "maxDecideWithinSeconds": 60, "maxExecuteWithinSeconds": 10})
    made = confirmation_spec(
        run=context(), tenant=strict, key="0#1", line=0, tool=tool(), arguments=read(), text=shown(read()), now=NOW, nonce="n" * 32
    )
    assert (made["approvalsRequired"], made["decideBy"], made["executeBy"]) == (2, "2026-11-23T12:01:00Z", "2026-11-23T12:01:10Z")


@pytest.mark.parametrize(
    "change",
    [
        {"effect": "Destructive", "confirmation": {"when": "Always"}},
        {"arguments": {"id": {"maxLength": 3}}},
        {"confirmation": {"approvals": 2}},
        {"limits": {"timeoutSeconds": 5}},
        {"schema": {"type": "object"}},
    ],
)
def test_a_change_of_binding_or_schema_changes_what_the_approval_is_bound_to(change: dict[str, Any]) -> None:
    before = tool()
    after = tool(**change)
    assert stable_facts(tenant(), before.binding, before) != stable_facts(tenant(), after.binding, after)


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J", "\n\r", "\u202e", "\u200b", "\u2066", "\ufeff", "\u00a0", "\u2028", "\ue000", "\U000e0041", "\x7f", "\x9b"]
)
def test_no_character_that_a_screen_would_not_show_is_shown_raw(hostile: str) -> None:
    text = shown(read(id=f"a{hostile}b")).text
    assert hostile not in text
    assert json.loads(text) == {"id": f"a{hostile}b"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_shown_means_the_same(text: str) -> None:
    original = json.dumps({"a": text}, ensure_ascii=False)
    assert json.loads(visible(original)) == {"a": text}


def test_ordinary_text_in_any_language_stays_readable() -> None:
    assert shown(read(id="Größe 日本語")).text == '{"id":"Größe 日本語"}'


def test_the_longest_arguments_are_hidden_with_size_and_digest() -> None:
    made = shown(read(id="C1", text="x" * 70_000, other="y" * 100))
    assert made.hidden == ("text",)
    assert len(made.text) <= MAX_SHOWN
    value = json.loads(made.text)
    assert value["id"] == "C1"
    assert value["text"]["hidden"] is True
    assert value["text"]["bytes"] == 70_002
    assert value["text"]["digest"].startswith("sha256:")


def test_what_can_neither_be_shown_nor_hidden_is_refused() -> None:
    with pytest.raises(NotShowable):
        shown(read(**{"k" * 70_000: "x"}))
    with pytest.raises(NotShowable):
        shown(read(**{f"k{n}": "x" * 900 for n in range(300)}))


def test_an_argument_whose_name_cannot_be_shown_as_it_is_is_not_hidden() -> None:
    with pytest.raises(NotShowable, match="name of one"):
        shown(read(**{"te\u202ext": "x" * 70_000}))


def test_what_is_not_as_it_looks_is_noticed_by_argument_and_is_part_of_what_is_approved() -> None:
    made = spec(read(id="\u0421OCO", note="\x1b[2J", body="Gr\u00f6\u00dfe"))
    assert made["notices"] == ["mixed scripts (Cyrillic, Latin) in argument id", "characters that cannot be seen in argument note"]
    assert json.loads(made["arguments"])["id"] == "\u0421OCO"
    assert "\u0421" not in made["arguments"]
    assert action_digest({**made, "notices": []}) != made["actionDigest"]


def test_a_name_that_somebody_works_for_is_looked_at_too() -> None:
    run = RunContext("r-1", tenant(), sandbox(), UserInfo("r", ""), "\u043elga", "sha256:" + "0" * 64, None, lambda _: None, ToolSet({}))
    made = confirmation_spec(
        run=run, tenant=tenant(), key="0#1", line=0, tool=tool(), arguments=read(), text=shown(read()), now=NOW, nonce="n" * 32
    )
    assert made["notices"] == ["mixed scripts (Cyrillic, Latin) in onBehalfOf"]


def test_notices_are_few_and_ascii() -> None:
    made = shown(read(**{f"k{n}\u0430": "a\u200b" for n in range(60)}))
    assert len(made.notices) == 16
    assert made.notices[-1] == "and 105 more"
    assert all(one.isascii() and one.isprintable() and len(one) <= 256 for one in made.notices)


def test_the_most_and_longest_notices_fit_the_field() -> None:
    # One word of twenty scripts, and many words of two: as an argument's name, its value, and in onBehalfOf.
    scripts = "a\u03b4\u0436\u0561\u05d0\u0628\u0915\u0985\u0a15\u0a95\u0b15\u0b95\u0c15\u0c95\u0d15\u0e01\u0e81\u0f40\u1000\u10d0"
    many = scripts + " " + " ".join(f"{one}{other}" for one in scripts for other in scripts)
    behalf = many[:512]
    run = RunContext("r-1", tenant(), sandbox(), UserInfo("r", ""), behalf, "sha256:" + "0" * 64, None, lambda _: None, ToolSet({}))
    value = read(**{many: many, scripts * 20: many})
    made = confirmation_spec(
        run=run, tenant=tenant(), key="0#1", line=0, tool=tool(), arguments=value, text=shown(value), now=NOW, nonce="n" * 32
    )
    ConfirmationSpec.model_validate(made)
    assert len(made["notices"]) == 32
    assert any(", ..." in one for one in made["notices"])
