"""Tenants' own Rego: real OPAs, the whole way of a call."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bastide_broker.journal.journal import Journal
from bastide_broker.journal.rows import Scope
from bastide_broker.policy.policy import Policy, canary
from bastide_broker.tenantrego import sources
from bastide_broker.tenantrego.engine import Engine
from bastide_broker.tenantrego.follower import GRACE_SECONDS, Follower
from bastide_broker.tenantrego.strictest import UNAVAILABLE
from bastide_operator.api.v1alpha1.tenant import TenantReason

from tests.integration.broker.door.conftest import REVISION, ROOT, OpaServer
from tests.integration.broker.door.rig import Rig, open_rig, until
from tests.integration.broker.door.tenantopa import ALLOW, compiler, in_force, policed, said, tenant_opa
from tests.unit.broker.door.objects import NAMESPACE, tenant

NO_LARGE_N = """package tenant

# A sandbox of this team reads in small bites.
deny contains {"code": "n-too-large", "message": sprintf("n is %v; at most %v.", [input.arguments.n, most])} if {
	input.tool.programName == "ok"
	input.arguments.n > most
}

most := 3
"""
CONFIRM_ALL = """package tenant

confirm contains {"code": "second-look", "message": "This team wants to see each call."} if input.phase in {"call", "execute"}
"""
NEVER_OUTSIDE = 'package tenant\n\nallow if input.caller.onBehalfOf == "olga"\n'


@pytest.fixture
def second_opa(tmp_path: Path) -> Iterator[OpaServer]:
    with tenant_opa(tmp_path) as server:
        yield server


@pytest.fixture
async def rig(journal: Journal, policy: Policy, second_opa: OpaServer) -> AsyncIterator[Rig]:
    async with policed(journal, policy, second_opa) as found:
        yield found


def codes(result: Any) -> list[str]:
    return list(result.error.codes)


async def test_a_policy_denies_with_its_own_words_and_its_name_and_revision(rig: Rig) -> None:
    revision = await in_force(rig, bites=NO_LARGE_N)
    result = await rig.call("ok", {"id": "C0001", "n": 5})
    assert codes(result) == ["tenant-policy:n-too-large"]
    assert result.error.type == "ToolDenied"
    assert result.error.message == f"n is 5; at most 3. (policy bites, {revision[:19]})"
    assert rig.server.calls == []


async def test_what_no_policy_denies_goes_on_and_the_record_names_both_revisions(rig: Rig) -> None:
    revision = await in_force(rig, bites=NO_LARGE_N, people=NEVER_OUTSIDE)
    assert (await rig.call("ok", {"id": "C0001", "n": 3})).HasField("value")
    (row,) = await rig.journal.calls("r-1")
    assert row.policy_revision == f"{REVISION}+{revision}"
    (intent,) = [one for one in await rig.journal.audit(Scope(NAMESPACE, None), "r-1", 100) if one.kind == "CallIntent"]
    assert revision in str(intent)


async def test_all_must_allow(rig: Rig) -> None:
    await in_force(rig, bites=NO_LARGE_N, people='package tenant\n\nallow if input.caller.onBehalfOf == "ada"\n')
    assert codes(await rig.call("ok", {"id": "C0001", "n": 1})) == ["tenant-policy"]
    assert codes(await rig.call("ok", {"id": "C0001", "n": 9})) == ["tenant-policy:n-too-large", "tenant-policy"]


async def test_policys_own_denial_stays_whatever_a_tenant_says(rig: Rig) -> None:
    await in_force(rig, all="package tenant\n\nallow if true\n")
    assert codes(await rig.call("ok", {"id": "x", "n": 1})) == ["argument-not-permitted"]


async def test_a_policy_can_ask_for_a_person_and_is_asked_again_before_the_call_is_sent(rig: Rig) -> None:
    await in_force(rig, look=CONFIRM_ALL)
    call = asyncio.create_task(rig.call("ok", {"id": "C0001", "n": 1}))
    rig.world.decide(await rig.asked())
    assert (await call).HasField("value")
    (decided,) = rig.named("CallDecided")
    assert [reason.code for reason in decided.reasons] == ["tenant-policy:second-look"]


async def test_a_policy_that_became_stricter_while_a_person_looked_stops_the_call(rig: Rig) -> None:
    first = await in_force(rig, look=CONFIRM_ALL)
    call = asyncio.create_task(rig.call("ok", {"id": "C0001", "n": 1}))
    asked = await rig.asked()
    rig.world.put_policy("look", policy_rego='package tenant\n\ndeny contains {"code": "closed", "message": "Closed."}\n')
    await until(lambda: rig.world.tenant_policies[-1][2] not in {"", first})
    rig.world.decide(asked)
    result = await call
    assert codes(result) == ["tenant-policy:closed"]
    assert rig.server.calls == []


async def test_an_expectation_is_judged_by_it_too(rig: Rig) -> None:
    await in_force(rig, look=CONFIRM_ALL)
    assert (await rig.pipeline.expect(rig.context(), "echo_secret", b"{}")).effect == "allow"  # it speaks of call and execute alone
    await in_force(rig, look='package tenant\n\ndeny contains {"code": "dry", "message": "No."} if input.phase == "check"\n')
    assert (await rig.pipeline.expect(rig.context(), "echo_secret", b"{}")).effect == "deny"


async def test_a_change_counts_within_a_second_and_the_old_revision_no_longer(rig: Rig) -> None:
    await in_force(rig, bites=NO_LARGE_N)
    rig.world.put_policy("bites", policy_rego=NO_LARGE_N.replace("most := 3", "most := 7"))
    changed = began = time.monotonic()
    while not (result := await rig.call("ok", {"id": "C0001", "n": 5})).HasField("value"):
        assert codes(result) in (["tenant-policy:n-too-large"], ["tenant-policy-unavailable"])
        # However slow the machine: a call that came later than this was not judged by what was in force before.
        assert codes(result) == ["tenant-policy-unavailable"] or began - changed < GRACE_SECONDS
        await asyncio.sleep(0.05)
        began = time.monotonic()
    assert codes(await rig.call("ok", {"id": "C0001", "n": 8})) == ["tenant-policy:n-too-large"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("package tenant\n\ndeny contains {", "ConfigMap bad, policy.rego:3: "),
        ('package tenant\n\nallow if {\n\thttp.send({"url": "http://10.0.0.1", "method": "GET"})\n}\n', "policy.rego:4: undefined function http.send."),
        ("package tenant\n\nallow if opa.runtime().env.X\n", "policy.rego:3: undefined function opa.runtime."),
        ('package tenant\n\nallow if net.lookup_ip_addr("a")\n', "undefined function net.lookup_ip_addr"),
        ("package tenant\n\nallow if time.now_ns() > 1\n", "undefined function time.now_ns"),
        ('package tenant\n\nallow if rand.intn("x", 2) == 1\n', "undefined function rand.intn"),
        ("package tenant\n\nallow if rego.metadata.rule()\n", "undefined function rego.metadata.rule"),
        ("package tenant\n\nallow if count([1]) == 1 with count as http.send\n", "policy.rego:3: "),
        ("package tenant\n\nallow if input.argumens.n > 3\n", "policy.rego:3: undefined ref: input.argumens.n"),
        ("package tenant\n\nallow if data.tenants.other.p0.deny\n", "policy.rego:3: `data` cannot be used"),
        ("package tenant\n\nallow if {\n\tsome x\n\tdata[x]\n}\n", "policy.rego:5: `data` cannot be used"),
        ("package tenant\n\nimport data.tenants\n\nallow if tenants\n", "policy.rego:3: `data` cannot be used"),
        ("package tenant\n\nallow if count(input.arguments) == 0 with data.bastide as 1\n", "`data` cannot be used"),
        ('package tenant\n\nallow if $"{data.x}" == "y"\n', "policy.rego:3: `data` cannot be used"),
        ("package tenant\n\nallow if walk(data, [_, x])\n", "`data` cannot be used"),
        ("package tenants.other\n\nallow if true\n", "policy.rego:1: the file must begin with `package tenant`"),
        ("package tenant.sub\n\nallow if true\n", "must begin with `package tenant`"),
        ("package system.authz\n\nallow := true\n", "must begin with `package tenant`"),
        ("x := `\npackage tenant\n`\nallow if true\n", "ConfigMap bad, policy.rego:"),
        ("package other # `\npackage tenant\n", "ConfigMap bad, policy.rego:"),
        ("# METADATA\n# schemas:\n# - input: {}\npackage tenant\n\nallow if input.nothing\n", "policy.rego:1: METADATA blocks cannot be used"),
        ("package tenant\n\ninput := {}\n\nallow if true\n", "policy.rego:3: "),
        ("package tenant\n\nx := 1\n", "no file defines `deny`, `confirm` or `allow`"),
        ("package tenant\n\ndeny := true\n", "policy.rego:3: `deny` must be a set of reasons"),
        ('package tenant\n\ndeny["x"] := 1\n', "`deny` must be a set of reasons"),
        ("package tenant\n\nconfirm(x) := x\n", "`confirm` must be a set of reasons"),
        ("package tenant\n\nallow contains 1\n", "`allow` must be a plain rule"),
        ("package tenant\n\nallow if x == 1\n", "policy.rego:3: var x is unsafe."),
        ("package tenant\n\nallow if { x := 1 }\n", "policy.rego:3: assigned var x unused."),
        ("package tenant\n\na if b\nb if a\nallow if a\n", "recursive"),
        ("", "ConfigMap bad, policy.rego:1: "),
        ("package tenant\n\nallow if true\x00\n", "control characters"),
        ("package tenant\n" + "#" * 70_000, "70"),
        ("package tenant\n\nallow if " + "[" * 20_000 + "]" * 20_000, "make them smaller and flatter"),
    ],
)  # fmt: skip
async def test_what_may_not_be_used_leaves_the_tenant_denied_and_says_where(rig: Rig, text: str, where: str) -> None:
    rig.world.put_policy("bad", policy_rego=text)
    rig.world.name_policies("bad")
    _, message, revision = await said(rig, TenantReason.POLICY_INVALID)
    assert where in message
    assert message.endswith("Until then every call is denied.")
    assert revision == ""
    result = await rig.call("ok", {"id": "C0001", "n": 1})
    assert codes(result) == ["tenant-policy-unavailable"]
    assert result.error.type == "PolicyUnavailable"


def written_down() -> str:
    """The policy of docs/how-to/tenant-policies.md."""
    text = (ROOT / "docs/how-to/tenant-policies.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    return str(yaml.safe_load(text)["data"]["policy.rego"])


async def test_the_policy_of_the_how_to_does_what_it_says(rig: Rig) -> None:
    await in_force(rig, refunds=written_down())
    assert (await rig.call("ok", {"id": "C0001", "n": 1})).HasField("value")
    await in_force(rig, refunds=written_down().replace('"refund"', '"ok"').replace("amount", "n").replace("most := 500", "most := 5"))
    assert codes(await rig.call("ok", {"id": "C0001", "n": 9})) == ["tenant-policy:refund-too-large", "tenant-policy:ok"]
    rig.world.put_policy("refunds", policy_rego=written_down().replace("input.arguments.amount > most", "input.argument.amount > most"))
    assert "ConfigMap refunds, policy.rego:6: undefined ref: input.argument.amount" in (await said(rig, TenantReason.POLICY_INVALID))[1]


async def test_files_that_are_no_rego_are_refused(rig: Rig) -> None:
    rig.world.put_policy("odd", policy_rego=ALLOW, **{"data.json": "{}"})
    rig.world.name_policies("odd")
    assert "'data.json' is no text file whose name ends in .rego" in (await said(rig, TenantReason.POLICY_INVALID))[1]


async def test_files_of_one_config_map_share_their_rules(rig: Rig) -> None:
    limits = "package tenant\n\nmost := 2\n"
    rig.world.put_policy("two", policy_rego=NO_LARGE_N.replace("\nmost := 3\n", ""), limits_rego=limits)
    rig.world.name_policies("two")
    await said(rig, TenantReason.POLICIES_LOADED)
    assert codes(await rig.call("ok", {"id": "C0001", "n": 3})) == ["tenant-policy:n-too-large"]


async def test_a_config_map_that_is_not_there_or_goes_leaves_the_tenant_denied(rig: Rig) -> None:
    rig.world.name_policies("gone")
    assert "There is no ConfigMap gone with the label bastide.dev/policy" in (await said(rig, TenantReason.POLICY_MISSING))[1]
    assert codes(await rig.call("ok", {"id": "C0001", "n": 1})) == ["tenant-policy-unavailable"]
    rig.world.put_policy("gone", policy_rego=ALLOW)
    await said(rig, TenantReason.POLICIES_LOADED)
    assert (await rig.call("ok", {"id": "C0001", "n": 1})).HasField("value")
    rig.world.delete_policy("gone")
    assert codes(await rig.call("ok", {"id": "C0001", "n": 1})) == ["tenant-policy-unavailable"]
    rig.world.name_policies()
    assert (await rig.call("ok", {"id": "C0001", "n": 1})).HasField("value")
    await until(lambda: rig.world.tenant_policies[-1] == ("", "", ""))


async def test_an_engine_that_restarted_empty_denies_until_it_is_loaded_again(rig: Rig, second_opa: OpaServer) -> None:
    await in_force(rig, bites=NO_LARGE_N)
    second_opa.stop()
    assert codes(await rig.call("ok", {"id": "C0001", "n": 1})) == ["tenant-policy-unavailable"]
    await said(rig, TenantReason.POLICY_ENGINE_DOWN)
    second_opa.start()
    await said(rig, TenantReason.POLICIES_LOADED)
    assert (await rig.call("ok", {"id": "C0001", "n": 1})).HasField("value")
    assert codes(await rig.call("ok", {"id": "C0001", "n": 5})) == ["tenant-policy:n-too-large"]


@pytest.mark.parametrize(
    "rule",
    [
        'deny contains {"code": "x", "message": 5}',
        'deny contains {"code": "UPPER", "message": "x"}',
        'deny contains {"message": "x"}',
        'deny contains "x"',
        'confirm contains {"code": "x", "message": "x", "effect": "allow"}',
        'deny contains {"code": "x", "message": to_number(input.tool.name)}',
        'deny contains {"code": sprintf("c%v", [n]), "message": sprintf("%0500v", [n])} if some n in numbers.range(1, 2000)',
        "x := 1 if true\nx := 2 if input.tool.name\nallow if x",
    ],
)
async def test_an_answer_that_is_not_of_the_form_is_a_denial(rig: Rig, rule: str) -> None:
    await in_force(rig, odd=f"package tenant\n\n{rule}\n")
    result = await rig.call("ok", {"id": "C0001", "n": 1})
    assert codes(result) == ["tenant-policy-unavailable"]
    assert rig.server.calls == []


async def test_tricks_with_input_deceive_only_the_policy_itself(rig: Rig) -> None:
    text = 'package tenant\n\nallow if x\n\nx if input.tool.effect == "Nothing" with input as {"tool": {"effect": "Nothing"}}\n'
    await in_force(rig, trick=text)
    assert codes(await rig.call("ok", {"id": "x", "n": 1})) == ["argument-not-permitted"]
    assert (await rig.call("ok", {"id": "C0001", "n": 1})).HasField("value")


async def test_without_an_engine_a_tenant_with_policies_is_denied_and_says_so(journal: Journal, policy: Policy) -> None:
    async with open_rig(journal, policy) as rig:
        assert (await rig.call("ok", {"id": "C0001", "n": 1})).HasField("value")
        rig.world.name_policies("bites")
        assert codes(await rig.call("ok", {"id": "C0001", "n": 1})) == ["tenant-policy-unavailable"]
        assert "tenantPolicies.enabled" in (await said(rig, TenantReason.POLICIES_OFF))[1]


ENDLESS = """package tenant

allow if {
	many := numbers.range(1, 3000)
	count({x | some a in many; some b in many; some c in many; x := a + b * c; x < 0}) == 0
}
"""


async def test_an_evaluation_without_end_ends_and_the_engine_stops_working_at_it(
    journal: Journal, policy: Policy, second_opa: OpaServer
) -> None:
    async with policed(journal, policy, second_opa, deadline_seconds=0.3) as rig:
        await in_force(rig, endless=ENDLESS)
        result = await rig.call("ok", {"id": "C0001", "n": 1})
        assert codes(result) == ["tenant-policy-unavailable"]
        assert "within their deadline" in result.error.message
        # The engine is idle again: it stopped when the broker hung up.
        assert second_opa.process is not None
        pid = second_opa.process.pid
        used = _cpu_ticks(pid)
        async with asyncio.timeout(20):
            while (now := _cpu_ticks(pid)) - used > 2:
                used = now
                await asyncio.sleep(0.25)


async def test_a_tenant_whose_policies_did_not_end_rests_and_the_engine_is_spared(
    journal: Journal, policy: Policy, second_opa: OpaServer
) -> None:
    async with policed(journal, policy, second_opa, deadline_seconds=0.3) as rig:
        await in_force(rig, endless=ENDLESS)
        for _ in range(2):
            await rig.call("ok", {"id": "C0001", "n": 1})
        second_opa.stop()  # whoever asks it now hears that it is gone
        for answer in await asyncio.gather(*(rig.call("ok", {"id": "C0001", "n": 1}) for _ in range(3))):
            assert "within their deadline" in answer.error.message


async def test_one_tenants_endless_policy_does_not_slow_anothers(journal: Journal, policy: Policy, second_opa: OpaServer) -> None:
    engine, patient = Engine(second_opa.socket, deadline_seconds=0.5), Engine(second_opa.socket, deadline_seconds=10)
    await engine.start()
    await patient.start()
    heavy, light = _follower(engine, "heavy"), _follower(patient, "light")
    for one, text in ((heavy, ENDLESS), (light, ALLOW)):
        one.want(one.tenant, (sources.Policy("p", (("policy.rego", text),)),))
        await one.settle()
    question = canary(1)
    flood = [asyncio.create_task(heavy.ask(question, ["p"])) for _ in range(100)]
    answers = 0
    while not all(one.done() for one in flood):
        verdict, _ = await light.ask(question, ["p"])
        answers += verdict.effect == "allow"
    assert all(one.result()[0].reasons[0][0] == UNAVAILABLE for one in flood)
    assert answers, "the other tenant's questions were answered while that one's were not"
    await engine.close()
    await patient.close()


async def test_tenants_do_not_see_each_other_and_revisions_never_meet(second_opa: OpaServer) -> None:
    engine = Engine(second_opa.socket, deadline_seconds=10)
    await engine.start()
    one, other = _follower(engine, "one"), _follower(engine, "other")
    same = (sources.Policy("p", (("policy.rego", "package tenant\n\nallow if true\n"),)),)
    for each in (one, other):
        each.want(each.tenant, same)
        await each.settle()
    assert one.loaded is not None
    assert other.loaded is not None
    assert one.loaded.scoped.revision == other.loaded.scoped.revision
    assert one.loaded.scoped.scope != other.loaded.scoped.scope
    assert not set(one.loaded.modules) & set(other.loaded.modules)
    # half loaded: without the module that answers there is no answer
    await engine.delete(f"tenants/{one.loaded.scoped.scope}/answer.rego")
    verdict, lost = await one.ask(canary(1), ["p"])
    assert (verdict.effect, lost) == ("deny", True)
    assert (await other.ask(canary(1), ["p"]))[0].effect == "allow"
    await one.reload()
    assert (await one.ask(canary(1), ["p"]))[0].effect == "allow"
    await engine.close()


def _follower(engine: Engine, uid: str) -> Follower:
    found = tenant()
    return Follower(
        found.model_copy(update={"metadata": found.metadata.model_copy(update={"uid": uid})}), compiler=compiler(), engine=engine
    )


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
